"""Errors of RPC itself."""

from __future__ import annotations

from nfp.model.errors import NfpError, Transient


class RpcTimeout(Transient):
    """No answer came in time; whether the other side acted is not known."""

    code = "RpcTimeout"


class Unroutable(Transient):
    """Nobody has declared the topic; nothing was delivered."""

    code = "Unroutable"


class NoSuchMethod(NfpError):
    """The server has no such method.  A dispatch raises it; callers get it.

    :param method: the method's name, or the whole text as it came from a wire.
    """

    code = "NoSuchMethod"
    TEXT = "Endpoint does not support RPC method "

    def __init__(self, method: str, *, field: str | None = None) -> None:
        super().__init__(method if method.startswith(self.TEXT) else f"{self.TEXT}{method}", field=field)


class UnsupportedVersion(NfpError):
    """The server speaks another version of the method's interface, or another namespace."""

    code = "UnsupportedVersion"

    @classmethod
    def of(cls, version: str, method: str) -> UnsupportedVersion:
        """The text as oslo.messaging has it."""
        return cls(f"Endpoint does not support RPC version {version}. Attempted method: {method}")


class WrongArguments(NfpError):
    """The arguments are not the method's; crosses the wire as Python's ``TypeError``."""

    code = "WrongArguments"


class RemoteError(NfpError):
    """The other side failed with an error that is not of our family.

    :param remote_type: the class's name over there.
    :param module: the module that it is from.
    """

    code = "RemoteError"

    def __init__(
        self, message: str, *, remote_type: str = "Exception", module: str = "", field: str | None = None
    ) -> None:
        super().__init__(f"{remote_type}: {message}", field=field)
        self.remote_type = remote_type
        self.module = module
