"""Field tables, as RabbitMQ and its clients write them (the errata of AMQP 0-9-1).

txAMQP reads four of the types and writes two; here are all of them.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

DEEPEST = 32
"""Tables and lists may lie this deep in one another; a frame could hold thousands."""


class TableError(ValueError):
    """A table that is broken, or a value that no table can hold."""


class Timestamp(int):
    """Seconds since 1970, a type of its own in a table."""


_FIXED = {
    ord("t"): struct.Struct("!?"),
    ord("b"): struct.Struct("!b"),
    ord("B"): struct.Struct("!B"),
    ord("s"): struct.Struct("!h"),
    ord("U"): struct.Struct("!h"),
    ord("u"): struct.Struct("!H"),
    ord("I"): struct.Struct("!i"),
    ord("i"): struct.Struct("!I"),
    ord("l"): struct.Struct("!q"),
    ord("L"): struct.Struct("!q"),
    ord("f"): struct.Struct("!f"),
    ord("d"): struct.Struct("!d"),
    ord("T"): struct.Struct("!Q"),
}
_DECIMAL = struct.Struct("!Bi")
_LENGTH = struct.Struct("!I")


def encode(table: Mapping[str, object]) -> bytes:
    """Write a table with its length before it.

    :raises TableError: a key is too long, or a value has no AMQP type.
    """
    parts: list[bytes] = []
    for name, value in table.items():
        key = name.encode()
        if len(key) > 255:
            raise TableError(f"a key has at most 255 bytes, this one has {len(key)}")
        parts += (bytes((len(key),)), key, _encode_value(value))
    return _sized(b"".join(parts))


def _encode_value(value: object) -> bytes:  # noqa: C901  a table of types reads best in one place
    match value:
        case None:
            return b"V"
        case bool():
            return b"t\1" if value else b"t\0"
        case Timestamp():
            return b"T" + _pack("!Q", value)
        case int():
            if -(2**31) <= value < 2**31:
                return b"I" + _pack("!i", value)
            return b"l" + _pack("!q", value)
        case float():
            return b"d" + _pack("!d", value)
        case str():
            return b"S" + _sized(value.encode())
        case bytes() | bytearray():
            return b"x" + _sized(bytes(value))
        case Mapping():
            return b"F" + encode(value)
        case Sequence():
            return b"A" + _sized(b"".join(map(_encode_value, value)))
    raise TableError(f"no AMQP type for {type(value).__name__}")


def _pack(form: str, value: float) -> bytes:
    try:
        return struct.pack(form, value)
    except struct.error:
        raise TableError(f"{value} is outside what AMQP can carry") from None


def _sized(data: bytes) -> bytes:
    return _LENGTH.pack(len(data)) + data


def decode(data: bytes, start: int = 0) -> tuple[dict[str, object], int]:
    """Read the table that begins, with its length, at *start*.

    :return: the table, and where it ended.
    :raises TableError: it is cut off, nested too deep, or has a type that nobody defined.
    """
    try:
        return _decode_table(data, start, DEEPEST)
    except (struct.error, IndexError):
        raise TableError("the table is cut off") from None


def _decode_table(data: bytes, at: int, depth: int) -> tuple[dict[str, object], int]:
    at, end = _extent(data, at, depth)
    table: dict[str, object] = {}
    while at < end:
        begin = at + 1
        at = begin + data[at]
        name = data[begin:at].decode("utf-8", "replace")
        table[name], at = _decode_value(data, at, depth)
    if at != end:
        raise TableError("an entry reaches beyond its table")
    return table, end


def _decode_value(data: bytes, at: int, depth: int) -> tuple[object, int]:
    kind = data[at]
    at += 1
    fixed = _FIXED.get(kind)
    if fixed is not None:
        (value,) = fixed.unpack_from(data, at)
        return (Timestamp(value) if kind == ord("T") else value), at + fixed.size
    match chr(kind):
        case "S":
            at, end = _extent(data, at)
            raw = data[at:end]
            try:
                return raw.decode(), end
            except UnicodeDecodeError:
                return raw, end
        case "x":
            at, end = _extent(data, at)
            return data[at:end], end
        case "F":
            return _decode_table(data, at, depth - 1)
        case "A":
            return _decode_list(data, at, depth - 1)
        case "V":
            return None, at
        case "D":
            scale, digits = _DECIMAL.unpack_from(data, at)
            return digits / 10**scale, at + _DECIMAL.size
    raise TableError(f"unknown field type {chr(kind)!r}")


def _decode_list(data: bytes, at: int, depth: int) -> tuple[list[object], int]:
    at, end = _extent(data, at, depth)
    values: list[object] = []
    while at < end:
        value, at = _decode_value(data, at, depth)
        values.append(value)
    if at != end:
        raise TableError("an item reaches beyond its list")
    return values, end


def _extent(data: bytes, at: int, depth: int = 1) -> tuple[int, int]:
    if depth <= 0:
        raise TableError("nested too deep")
    (length,) = _LENGTH.unpack_from(data, at)
    end = at + _LENGTH.size + length
    if end > len(data):
        raise TableError("the table is cut off")
    return at + _LENGTH.size, end
