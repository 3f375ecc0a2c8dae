"""Frames, to bytes and back.

Strings are encoded before they are measured, bodies are bytes throughout, and everything is
encoded where it is sent from: what cannot be encoded fails its caller and nothing else.
The methods of the hot path (deliver, ack, publish) are packed by hand; all others follow the
specification file.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from io import BytesIO
from typing import Any

from txamqp import spec as _spec
from txamqp.codec import Codec
from txamqp.message import Message

from nfp.rpc.amqp import tables

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
END = b"\xce"
PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
HEARTBEAT_FRAME = b"\x08\x00\x00\x00\x00\x00\x00" + END

FRAME_HEAD = struct.Struct("!BHI")
OVERHEAD = FRAME_HEAD.size + len(END)

BASIC = 60
DELIVER = struct.pack("!HH", BASIC, 60)
_PUBLISH = struct.Struct("!HHH")
_SETTLE = struct.Struct("!BHIHHQBB")
_CONTENT_HEAD = struct.Struct("!HHQ")


class FieldCodec(Codec):  # type: ignore[misc]  # txamqp has no types
    """txAMQP's codec with strings measured in bytes, and full field tables."""

    def enc_str(self, fmt: str, s: str | bytes) -> None:
        """Write a string or bytes after their length."""
        data = s.encode() if isinstance(s, str) else bytes(s)
        self.pack(fmt, len(data))
        self.write(data)

    def encode_table(self, tbl: Mapping[str, object]) -> None:
        """Write a field table."""
        self.write(tables.encode(tbl))

    def decode_table(self) -> dict[str, object]:
        """Read a field table."""
        length = self.decode_long()
        data = self.read(length) if length else b""
        return tables.decode(struct.pack("!I", length) + data)[0]


@lru_cache(maxsize=1)
def specification() -> Any:
    """The AMQP 0-9-1 that we speak, read from the file beside this module."""
    from pathlib import Path

    return _spec.load(str(Path(__file__).with_name("amqp0-9-1.xml")))


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """One frame."""
    return b"".join((FRAME_HEAD.pack(kind, channel, len(payload)), payload, END))


def method(channel: int, what: Any, arguments: Sequence[object]) -> bytes:
    """A method frame.

    :param what: the method, of :func:`specification`.
    :raises Exception: an argument does not fit its field.
    """
    buffer = BytesIO()
    codec = FieldCodec(buffer)
    codec.encode_short(what.klass.id)
    codec.encode_short(what.id)
    for field, value in zip(what.fields, arguments, strict=True):
        codec.encode(field.type, value)
    codec.flush()
    return frame(METHOD, channel, buffer.getvalue())


def read_method(payload: bytes) -> Message:
    """The method in a frame's payload."""
    codec = FieldCodec(BytesIO(payload))
    klass = specification().classes.byid[codec.decode_short()]
    what = klass.methods.byid[codec.decode_short()]
    return Message(what, tuple(codec.decode(field.type) for field in what.fields))


def settle(channel: int, which: int, delivery_tag: int, *, flag: bool = False) -> bytes:
    """A basic.ack (*which* 80; *flag*: multiple) or basic.reject (90; *flag*: requeue)."""
    return _SETTLE.pack(METHOD, channel, 13, BASIC, which, delivery_tag, flag, 0xCE)


def publish(
    channel: int, exchange: str, key: str, body: bytes, properties: bytes, *, mandatory: bool, frame_max: int
) -> bytes:
    """A whole basic.publish: method, header and body frames.

    :param properties: what :func:`write_properties` gave.
    """
    target = _short(exchange) + _short(key)
    parts = [
        FRAME_HEAD.pack(METHOD, channel, 7 + len(target)),
        _PUBLISH.pack(BASIC, 40, 0),
        target,
        b"\1\xce" if mandatory else b"\0\xce",
        FRAME_HEAD.pack(HEADER, channel, 12 + len(properties)),
        _CONTENT_HEAD.pack(BASIC, 0, len(body)),
        properties,
        END,
    ]
    step = frame_max - OVERHEAD
    for start in range(0, len(body), step):
        chunk = body[start : start + step]
        parts += (FRAME_HEAD.pack(BODY, channel, len(chunk)), chunk, END)
    return b"".join(parts)


def _short(text: str) -> bytes:
    data = text.encode()
    if len(data) > 255:
        raise ValueError(f"a short string has at most 255 bytes, this one has {len(data)}")
    return bytes((len(data),)) + data


def write_properties(properties: Mapping[str, object]) -> bytes:
    """The property flags and values of a content header.

    :param properties: values by AMQP's names, ``content-type``; ``None`` leaves one out.
    :raises ValueError: a name is unknown.
    """
    fields = list(specification().classes.byname["basic"].fields)
    unknown = properties.keys() - {field.name for field in fields}
    if unknown:
        raise ValueError(f"unknown message properties: {', '.join(sorted(unknown))}")
    buffer = BytesIO()
    codec = FieldCodec(buffer)
    flags = 0
    for position, field in enumerate(fields):
        value = properties.get(field.name)
        if value is not None:
            flags |= 1 << (15 - position)
            codec.encode(field.type, value)
    codec.flush()
    return struct.pack("!H", flags) + buffer.getvalue()


def body_size(header: bytes) -> int:
    """How many bytes of body a content header announces."""
    size: int = _CONTENT_HEAD.unpack_from(header)[2]
    return size


def read_properties(header: bytes) -> dict[str, object]:
    """The properties in a content header.

    :raises Exception: they cannot be read; the message itself still can.
    """
    codec = FieldCodec(BytesIO(header[_CONTENT_HEAD.size :]))
    flags = codec.decode_short()
    found: dict[str, object] = {}
    for position, field in enumerate(specification().classes.byname["basic"].fields):
        if flags & 1 << (15 - position):
            found[field.name] = codec.decode(field.type)
    return found


def read_deliver(payload: bytes) -> tuple[str, int, bool, str, str]:
    """Consumer tag, delivery tag, redelivered, exchange and routing key of a basic.deliver."""
    at = 5 + payload[4]
    consumer = payload[5:at].decode("utf-8", "replace")
    tag = int.from_bytes(payload[at : at + 8], "big")
    redelivered = bool(payload[at + 8] & 1)
    at += 9
    end = at + 1 + payload[at]
    exchange = payload[at + 1 : end].decode("utf-8", "replace")
    return (
        consumer,
        tag,
        redelivered,
        exchange,
        payload[end + 1 : end + 1 + payload[end]].decode("utf-8", "replace"),
    )
