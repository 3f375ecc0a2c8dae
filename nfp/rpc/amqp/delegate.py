"""What the broker sends unasked."""

from __future__ import annotations

from collections.abc import Mapping

from txamqp.client import TwistedDelegate
from txamqp.message import Message

from nfp.rpc.amqp.channel import Channel
from nfp.rpc.amqp.errors import NotTaken

FRAME_MAX = 131072

CAPABILITIES: Mapping[str, object] = {
    "publisher_confirms": True,
    "consumer_cancel_notify": True,
    "basic.nack": True,
    "exchange_exchange_bindings": True,
    "connection.blocked": True,
    "authentication_failure_close": True,
}


class Delegate(TwistedDelegate):  # type: ignore[misc]  # txamqp has no types
    """Handles what the broker sends unasked.

    Corrected: client properties and capabilities are sent; confirms, consumer cancellation and
    connection.blocked are understood; the heartbeat is the smaller of both wishes.
    """

    def connection_start(self, ch: Channel, msg: Message) -> None:
        """Log in, saying who we are and what we understand."""
        properties = {"product": "nfp", "platform": "Twisted", "capabilities": CAPABILITIES}
        ch.connection_start_ok(
            client_properties=properties,
            mechanism=self.client.mechanism,
            response=self.client.response,
            locale=self.client.locale,
        )

    def connection_tune(self, ch: Channel, msg: Message) -> None:
        """Agree on frame size and heartbeat."""
        client = self.client
        client.MAX_LENGTH = min(msg.frame_max or FRAME_MAX, FRAME_MAX)
        wishes = [wish for wish in (client.heartbeat, msg.heartbeat) if wish]
        interval = min(wishes) if wishes else 0
        ch.connection_tune_ok(msg.channel_max, client.MAX_LENGTH, interval)
        client.start_heartbeat(interval)
        client.started.fire()

    def basic_ack(self, ch: Channel, msg: Message) -> None:
        """The broker has publishes."""
        ch.settled(msg.delivery_tag, msg.multiple)

    def basic_nack(self, ch: Channel, msg: Message) -> None:
        """The broker refused publishes."""
        ch.settled(msg.delivery_tag, msg.multiple, NotTaken("the broker could not keep the message"))

    def basic_cancel(self, ch: Channel, msg: Message) -> None:
        """The broker ended a consumer, because its queue is gone."""
        consumer = ch.consumers.pop(msg.consumer_tag, None)
        if consumer is not None and consumer[1] is not None:
            consumer[1]()

    def connection_blocked(self, ch: Channel, msg: Message) -> None:
        """The broker takes no publishes for now."""
        self.client.tell_blocked(msg.reason)

    def connection_unblocked(self, ch: Channel, msg: Message) -> None:
        """The broker takes publishes again."""
        self.client.tell_blocked(None)
