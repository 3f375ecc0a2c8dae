"""How AMQP fails, in our own terms."""

from __future__ import annotations

from nfp.model.errors import Transient


class BrokerError(Transient):
    """Root of what goes wrong between us and the broker."""

    code = "BrokerError"


class ConnectionLost(BrokerError):
    """The connection ended, whoever ended it."""

    code = "ConnectionLost"


class LoginRefused(BrokerError):
    """The broker does not know the user or the virtual host, or does not let us in."""

    code = "LoginRefused"


class ChannelClosed(BrokerError):
    """The broker closed the channel.

    :param status: its reply code: 404 not found, 405 locked, 406 declared with other flags, …
    """

    code = "ChannelClosed"

    def __init__(self, message: str, *, status: int = 0, field: str | None = None) -> None:
        super().__init__(message, field=field)
        self.status = status


class NotRouted(BrokerError):
    """A message published as mandatory matched no queue; the broker gave it back."""

    code = "NotRouted"


class NotTaken(BrokerError):
    """The broker answered a publish with basic.nack: it could not keep the message."""

    code = "NotTaken"
