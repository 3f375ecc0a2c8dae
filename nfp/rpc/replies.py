"""Replies on their way to callers whose queue may not be there at this moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from nfp.rpc import envelope
from nfp.rpc.amqp.errors import BrokerError
from nfp.rpc.amqp.interfaces import GivenBack, IChannel

AGAIN = 0.25
PATIENCE = 60.0


class Replies:
    """Sends replies; one that comes back is sent again until the caller has had its chance.

    A caller that lost its connection declares its queue again under the same name.

    :param clock: for the waiting.
    :param channel: gives the present channel, ``None`` while there is none.
    """

    log = Logger()

    def __init__(self, clock: Any, channel: Callable[[], IChannel | None]) -> None:
        self._clock = clock
        self._channel = channel
        self._deadlines: dict[bytes, float] = {}
        self._again: set[IDelayedCall] = set()

    def send(self, channel: IChannel, queue: str, body: bytes) -> None:
        """Send a reply.

        :raises BrokerError: the channel has ended.
        :raises ValueError: no queue can have that name.
        """
        channel.publish("", queue, body, envelope.PROPERTIES, mandatory=True)

    def given_back(self, what: GivenBack) -> None:
        """A reply found no queue."""
        now = self._clock.seconds()
        # A reply that got through at last leaves its entry behind.
        for body in [body for body, end in self._deadlines.items() if end + AGAIN < now]:
            del self._deadlines[body]
        deadline = self._deadlines.setdefault(what.body, now + PATIENCE)
        if now + AGAIN > deadline:
            del self._deadlines[what.body]
            # Its caller is gone, and knows: no trouble of ours.
            self.log.warn("nobody takes the reply to {queue}; dropped", queue=what.routing_key)
            return
        call: IDelayedCall

        def send() -> None:
            self._again.discard(call)
            self._send_again(what)

        call = self._clock.callLater(AGAIN, send)
        self._again.add(call)

    def _send_again(self, what: GivenBack) -> None:
        channel = self._channel()
        if channel is None:
            self.given_back(what)
            return
        try:
            self.send(channel, what.routing_key, what.body)
        except BrokerError:
            self.given_back(what)

    def stop(self) -> None:
        """Give up what still waits."""
        for call in self._again:
            call.cancel()
        self._again.clear()
        self._deadlines.clear()
