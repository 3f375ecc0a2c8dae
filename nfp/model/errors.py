"""The errors that cross a boundary of the framework.

Each has a stable ``code``.  One table turns it into an HTTP status
(``nfp.rest.errors``), one into an oslo.messaging failure (``nfp.rpc.envelope``);
the text is safe to show to whoever asked.
"""

from __future__ import annotations


class NfpError(Exception):
    """Root of the family.

    :param message: what happened, fit for an operator or a caller.
    :param field: dotted path of the offending input, where there is one.
    """

    code = "Error"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message if field is None else f"{field}: {message}")
        self.reason = message
        self.field = field


class Invalid(NfpError):
    """The input is not what was expected; nothing was changed."""

    code = "Invalid"


class NotFound(NfpError):
    """No object has that id."""

    code = "NotFound"


class Conflict(NfpError):
    """The request contradicts the present state or another owner."""

    code = "Conflict"


class Stale(Conflict):
    """An effect carried an ``order`` below the highest seen (invariant I5)."""

    code = "Stale"


class Unavailable(NfpError):
    """The component cannot take the request now; the same request may succeed later."""

    code = "Unavailable"


class NoSuchConfigurator(NfpError):
    """The agent has no proxy to a configurator of that name."""

    code = "NoSuchConfigurator"


class Permanent(NfpError):
    """A driver's verdict: the same step with the same input fails again."""

    code = "Permanent"


class Transient(NfpError):
    """A driver's verdict: worth another try, with backoff."""

    code = "Transient"


class Waiting(NfpError):
    """A driver's verdict: an outside condition is missing; tried again without limit."""

    code = "Waiting"


def _family(root: type[NfpError]) -> dict[str, type[NfpError]]:
    found: dict[str, type[NfpError]] = {}
    for child in root.__subclasses__():
        found.update(_family(child))
    return {**found, root.code: root}  # a subclass without a code of its own does not take its parent's


def by_code(code: str, message: str, field: str | None = None) -> NfpError:
    """Rebuild an error that crossed a wire.

    :param code: the ``code`` that the other side sent.
    :param message: its text.
    :param field: its field, if any.
    :return: an instance of the class with that code; plain :class:`NfpError` for an unknown one.
    """
    return _family(NfpError).get(code, NfpError)(message, field=field)
