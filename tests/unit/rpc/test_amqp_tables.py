"""Field tables, and what txAMQP makes of them."""

from __future__ import annotations

import contextlib
import struct
from io import BytesIO

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from txamqp.codec import Codec

from nfp.rpc.amqp import tables
from nfp.rpc.amqp.frames import FieldCodec
from nfp.rpc.amqp.tables import TableError, Timestamp

FOREIGN = {
    "list": ["a", 1, None, {"deep": [True]}],
    "null": None,
    "float": 2.5,
    "big": 2**40,
    "negative": -7,
    "when": Timestamp(1700000000),
    "flag": False,
    "raw": b"\xff\0",
    "table": {"é": "ü"},
}

keys = st.text(max_size=20)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.builds(Timestamp, st.integers(0, 2**64 - 1)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


def stock_encode(table: dict[str, object]) -> bytes:
    """What txAMQP writes."""
    stream = BytesIO()
    Codec(stream).encode_table(table)
    return stream.getvalue()


class TableTests(SynchronousTestCase):
    """Our tables."""

    @given(st.dictionaries(keys, values, max_size=6))
    def test_what_is_written_is_read(self, table: dict[str, object]) -> None:
        """Every type comes back as it went."""
        data = tables.encode(table)
        self.assertEqual(tables.decode(data), (table, len(data)))

    @given(st.binary(max_size=200))
    def test_garbage_is_a_table_error_at_worst(self, data: bytes) -> None:
        """Whatever the bytes, reading ends, with nothing else raised."""
        with contextlib.suppress(TableError):
            tables.decode(data)

    @given(st.dictionaries(keys, values, min_size=1, max_size=3), st.data())
    def test_a_cut_table_is_refused(self, table: dict[str, object], data: st.DataObject) -> None:
        """Never a part of a table."""
        whole = tables.encode(table)
        cut = data.draw(st.integers(0, len(whole) - 1))
        self.assertRaises(TableError, tables.decode, whole[:cut])

    def test_types_that_others_write(self) -> None:
        """The types that we never write are read."""
        entries = {
            "b": (struct.pack("!b", -5), -5),
            "B": (b"\xfb", 251),
            "s": (struct.pack("!h", -300), -300),
            "u": (struct.pack("!H", 65000), 65000),
            "i": (struct.pack("!I", 2**31), 2**31),
            "f": (struct.pack("!f", 0.5), 0.5),
            "D": (struct.pack("!Bi", 2, 314), 3.14),
        }
        for kind, (raw, value) in entries.items():
            body = b"\1k" + kind.encode() + raw
            self.assertEqual(tables.decode(struct.pack("!I", len(body)) + body)[0], {"k": value}, kind)

    def test_bytes_that_are_no_text_stay_bytes(self) -> None:
        """A string need not be UTF-8."""
        body = b"\1kS" + struct.pack("!I", 2) + b"\xff\xfe"
        self.assertEqual(tables.decode(struct.pack("!I", len(body)) + body)[0], {"k": b"\xff\xfe"})

    def test_nesting_has_a_limit(self) -> None:
        """A frame of nothing but lists in lists does not exhaust the stack."""
        data = b""
        for _ in range(3000):
            data = b"A" + struct.pack("!I", len(data)) + data
        body = b"\1k" + data
        self.assertRaises(TableError, tables.decode, struct.pack("!I", len(body)) + body)

    def test_what_no_table_can_hold(self) -> None:
        """It is refused before anything is written."""
        for value in (2**64, object(), {"x" * 256: 1}):
            self.assertRaises(TableError, tables.encode, {"k": value})


class StockFaultTests(SynchronousTestCase):
    """Each of these fails with txAMQP's codec and works with ours."""

    def test_foreign_header_values_cannot_be_read(self) -> None:
        """A list, null, float, 64-bit number or timestamp in a header."""
        for name, value in FOREIGN.items():
            data = tables.encode({name: value})
            self.assertEqual(FieldCodec(BytesIO(data)).decode_table(), {name: value})
            if name not in ("flag", "table", "negative"):
                self.assertRaises(ValueError, Codec(BytesIO(data)).decode_table)
        negative = Codec(BytesIO(tables.encode({"n": -7}))).decode_table()
        self.assertNotEqual(negative, {"n": -7})

    def test_booleans_are_written_as_numbers(self) -> None:
        """Which RabbitMQ answers with 406 where it wants a boolean."""
        self.assertEqual(tables.decode(tables.encode({"k": True}))[0]["k"], True)
        self.assertEqual(tables.encode({"k": True})[6:7], b"t")
        self.assertEqual(stock_encode({"k": True})[6:7], b"I")

    def test_negative_large_nested_and_float_values_cannot_be_written(self) -> None:
        """Only strings and small positive numbers can."""
        for value in (-1, 2**40, 1.5):
            self.assertEqual(tables.decode(tables.encode({"k": value}))[0], {"k": value})
            self.assertRaises(struct.error, stock_encode, {"k": value})
        self.assertEqual(tables.decode(tables.encode({"k": {"a": [1]}}))[0], {"k": {"a": [1]}})
        self.assertRaises(struct.error, stock_encode, {"k": {"a": 1}})

    def test_strings_are_measured_in_characters(self) -> None:
        """So that a reader stops before the end."""
        for codec_class, length in ((FieldCodec, 2), (Codec, 1)):
            stream = BytesIO()
            codec_class(stream).encode_shortstr("é")
            self.assertEqual(stream.getvalue()[0], length)
