"""The broker's end of an AMQP connection whose transport is a string."""

from __future__ import annotations

import struct
from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from txamqp.client import TwistedDelegate
from txamqp.message import Message
from txamqp.protocol import AMQClient

from nfp.rpc.amqp import frames
from nfp.rpc.amqp.protocol import Client


class Transport(StringTransport):
    """Remembers being broken off, and whether small frames are sent at once."""

    aborted = False
    no_delay = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Send at once."""
        self.no_delay = enabled

    def abortConnection(self) -> None:
        """Break off."""
        self.aborted = True
        super().abortConnection()


def method(channel: int, name: str, *arguments: object) -> bytes:
    """A method frame, by ``class.method``."""
    return frames.method(channel, specified(name), arguments)


def specified(name: str) -> Any:
    """A method of the specification."""
    klass, _, what = name.partition(".")
    return frames.specification().classes.byname[klass].methods.byname[what]


def header(channel: int, size: int, properties: bytes = b"\0\0") -> bytes:
    """A content header frame."""
    return frames.frame(frames.HEADER, channel, struct.pack("!HHQ", frames.BASIC, 0, size) + properties)


def deliver(
    channel: int, consumer: str, tag: int, body: bytes, properties: bytes = b"\0\0", chunk: int = 100000
) -> bytes:
    """A delivery."""
    parts = [
        method(channel, "basic.deliver", consumer, tag, False, "", "q"),
        header(channel, len(body), properties),
    ]
    parts += [frames.frame(frames.BODY, channel, body[at : at + chunk]) for at in range(0, len(body), chunk)]
    return b"".join(parts)


def sent(transport: Transport) -> list[Message]:
    """The methods written since the last look; content frames are left out."""
    data = transport.value()
    transport.clear()
    if data.startswith(b"AMQP"):
        data = data[8:]
    found = []
    while data:
        kind, _, length = frames.FRAME_HEAD.unpack_from(data)
        if kind == frames.METHOD:
            found.append(frames.read_method(data[7 : 7 + length]))
        data = data[8 + length :]
    return found


START = method(0, "connection.start", 0, 9, {"product": "broker"}, "PLAIN", "en_US")
TUNE = method(0, "connection.tune", 2047, 131072, 60)
OPEN_OK = method(0, "connection.open-ok", "")


class Peer:
    """A client, corrected or stock, with its transport and clock."""

    def __init__(self, client: Any, clock: Clock) -> None:
        self.client = client
        self.clock = clock
        self.transport = Transport()
        self.lost: list[object] = []

    def connect(self) -> None:
        """Connect and log in."""
        self.client.makeConnection(self.transport)
        _ = self.client.authenticate("u", "p", mechanism="PLAIN")
        self.receive(START, TUNE, OPEN_OK)
        self.transport.clear()

    def receive(self, *data: bytes) -> None:
        """Let the client receive."""
        for one in data:
            self.client.dataReceived(one)

    def channel(self, number: int = 1) -> Any:
        """Open a channel."""
        found: list[Any] = []
        self.client.channel(number).addCallback(found.append)
        opening = found[0].channel_open()
        opening.addErrback(lambda failure: None)
        self.receive(method(number, "channel.open-ok", ""))
        self.transport.clear()
        return found[0]


def corrected(heartbeat: int = 0, blocked: Any = lambda reason: None) -> Peer:
    """Our client, logged in."""
    clock = Clock()
    peer = Peer(Client("/", heartbeat, clock, lambda client: None, blocked), clock)
    peer.connect()
    return peer


def stock(heartbeat: int = 0) -> Peer:
    """txAMQP's own, logged in; it reads our specification, having none."""
    clock = Clock()
    peer = Peer(AMQClient(TwistedDelegate(), "/", frames.specification(), heartbeat, clock), clock)
    peer.connect()
    return peer
