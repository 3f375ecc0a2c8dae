"""The configurator's REST interface (``contract.md`` section 4)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from klein import Klein
from twisted.web.iweb import IRequest

from nfp.configurator.intake import Intake
from nfp.configurator.outbox import Outbox
from nfp.model.errors import Invalid, Unavailable
from nfp.rest.bodies import MAX_BODY, read_json
from nfp.rest.errors import answer_json, install_errors, request_id_of

LONGEST_WAIT = 60.0
"""Seconds that a poll may wait at most."""
MOST_POLLERS = 128


class Api:
    """Requests in, notifications out.

    :param who: says who sent a request, or raises ``Forbidden``.
    :param max_body: bytes that a body may have.
    """

    app = Klein()
    install_errors(app)

    def __init__(
        self,
        intake: Intake[Any],
        outbox: Outbox,
        who: Callable[[IRequest], str],
        *,
        max_body: int = MAX_BODY,
        health: Callable[[], dict[str, object]] = dict,
    ) -> None:
        self._intake = intake
        self._outbox = outbox
        self._who = who
        self._max_body = max_body
        self._health = health

    @app.route("/v1/nfp/notifications", methods=["GET"])
    async def notifications(self, request: IRequest) -> bytes:
        """Give what is not acknowledged yet; wait for news when asked to."""
        self._who(request)
        boot = _argument(request, "boot")
        after = int(_number(request, "after", whole=True))
        wait = min(_number(request, "wait"), LONGEST_WAIT)
        if self._outbox.pollers >= MOST_POLLERS:
            raise Unavailable(f"{MOST_POLLERS} polls are waiting already")
        batch = await self._outbox.poll(boot, after, wait)
        request.setHeader(b"Content-Type", b"application/json")
        return batch.to_json()

    @app.route("/v1/nfp/<operation>", methods=["POST"])
    async def operate(self, request: IRequest, operation: str) -> bytes:
        """Accept one of the operations: 202, the result comes as a notification."""
        self._who(request)
        body = read_json(request, limit=self._max_body)
        request_id = request_id_of(request)
        answer = self._intake.accept(operation, body, request_id)
        if answer is not None:
            return answer_json(request, answer)
        return answer_json(request, {"request_id": request_id, "boot_id": self._outbox.boot_id}, 202)

    @app.route("/healthcheck", methods=["GET"])
    async def healthcheck(self, request: IRequest) -> bytes:
        """Say that the listener answers, and how much waits."""
        self._who(request)
        return answer_json(
            request,
            {
                "boot_id": self._outbox.boot_id,
                "running": self._intake.running,
                "notifications": len(self._outbox),
                "pollers": self._outbox.pollers,
                "dropped_health_reports": self._outbox.dropped,
                **self._health(),
            },
        )


def _argument(request: IRequest, name: str) -> str | None:
    arguments: Any = request.args
    values = arguments.get(name.encode("ascii")) or [None]
    if values[0] is None:
        return None
    try:
        text: str = values[0].decode("utf-8")
    except UnicodeDecodeError:
        raise Invalid("expected UTF-8 text", field=name) from None
    return text


def _number(request: IRequest, name: str, *, whole: bool = False) -> float:
    """A query parameter that is a number, 0 or more; 0 when it is left out."""
    text = _argument(request, name)
    if text is None:
        return 0
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        value = -1
    if not math.isfinite(value) or value < 0 or len(text) > 20:
        expected = "a whole number, 0 or more" if whole else "seconds, 0 or more"
        raise Invalid(f"expected {expected}, got {json.dumps(text[:80])}", field=name)
    return value
