"""TFRecord files of tf.train.Example protos, read without TensorFlow.

Records have any lengths and their features any order, so nothing lies at a fixed
place. All records of a block are therefore walked side by side: a step reads one field
of each, and there are as many steps as the longest message has fields.

    record  = length: uint64, checksum of length, content, checksum of content
    Example = features (1) -> feature (1), repeated -> key (1), value (2)
    value   = bytes_list (1) | float_list (2) | int64_list (3) -> value (1)

Reference: tensorflow/core/example/feature.proto; record_writer.h; Protocol Buffers,
Encoding.
"""

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tfcausal.stats.crc32c import crc32c, crc32c_rows
from tfcausal.stats.sorting import stable_order

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

HEAD_BYTES = 12
TAIL_BYTES = 4

BYTES, FLOAT, INT64 = 1, 2, 3
"""The kinds of a feature's value, as numbered in the proto."""

_MASK_DELTA = 0xA282EAD8
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT = 10
_WRONG = "wrong checksum of the record at byte {}"


@dataclass(frozen=True)
class Spans:
    """Stretches of some bytes.

    Attributes:
        begins: [n] int64.
        ends: [n] int64, >= begins.
    """

    begins: Int64s
    ends: Int64s

    def at(self, chosen: npt.NDArray[Any]) -> "Spans":
        """Returns some of them."""
        return Spans(self.begins[chosen], self.ends[chosen])


def masked_crc32c(crc: int) -> int:
    """Returns a checksum as it stands in a TFRecord file."""
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def starts_record(content: bytes) -> bool:
    """Returns whether bytes begin with a record's length and its checksum."""
    if len(content) < HEAD_BYTES:
        return False
    (checksum,) = struct.unpack_from("<I", content, 8)
    return masked_crc32c(crc32c(content[:8])) == int(checksum)


def find_records(content: bytes, offset: int = 0) -> tuple[Spans, int]:
    """Finds the records that lie whole in some bytes.

    Args:
        content: Bytes that begin with a record.
        offset: Where they stand in their file, for the message.
    Returns:
        The records' contents, and where the first record begins that is cut off.
    Raises:
        ValueError: If a checksum is wrong; says at which byte.
    """
    begins, ends = _record_places(content)
    spans = Spans(np.asarray(begins, np.int64), np.asarray(ends, np.int64))
    letters = np.frombuffer(content, np.uint8)
    heads = spans.begins - HEAD_BYTES
    _require_checksums(letters, Spans(heads, heads + 8), heads + offset)
    _require_checksums(letters, spans, heads + offset)
    end = ends[-1] + TAIL_BYTES if ends else 0
    # A damaged length would seem to reach beyond what is there.
    if len(content) - end >= HEAD_BYTES and not starts_record(
        content[end : end + HEAD_BYTES]
    ):
        raise ValueError(_WRONG.format(offset + end))
    return spans, end


def _record_places(content: bytes) -> tuple[list[int], list[int]]:
    """Follows the lengths: where a record begins, only the one before it says."""
    begins: list[int] = []
    ends: list[int] = []
    place, size = 0, len(content)
    length_at = struct.Struct("<Q").unpack_from
    while place + HEAD_BYTES <= size:
        begin = place + HEAD_BYTES
        end = begin + length_at(content, place)[0]
        if end + TAIL_BYTES > size:
            break
        begins.append(begin)
        ends.append(end)
        place = end + TAIL_BYTES
    return begins, ends


def _require_checksums(letters: Bytes, spans: Spans, offsets: Int64s) -> None:
    lengths = spans.ends - spans.begins
    # Strings of one length have their checksums computed side by side.
    for length in np.unique(lengths):
        chosen = np.flatnonzero(lengths == length)
        rows = letters[spans.begins[chosen, None] + np.arange(length)]
        crc = crc32c_rows(rows) if length else np.zeros(len(chosen), np.uint32)
        rotated = (crc >> np.uint32(15)) | (crc << np.uint32(17))
        expected = rotated + np.uint32(_MASK_DELTA)
        places = spans.ends[chosen, None] + np.arange(4)
        found = np.ascontiguousarray(letters[places]).view("<u4")[:, 0]
        wrong = np.flatnonzero(found != expected)
        if len(wrong):
            raise ValueError(_WRONG.format(offsets[chosen[wrong]].min()))


@dataclass(frozen=True)
class Features:
    """The features of some records.

    Attributes:
        letters: The bytes that all spans are of.
        owners: [m] int64, the record of each feature.
        keys: [m] the names.
        kinds: [m] BYTES, FLOAT or INT64; 0 for a feature without a list.
        lists: [m] the lists of values, as serialized.
        malformed: [n] whether a record is no Example.
    """

    letters: Bytes
    owners: Int64s
    keys: Spans
    kinds: Int64s
    lists: Spans
    malformed: Bools

    def kinds_by_name(self) -> dict[bytes, int]:
        """Returns the kind of each feature where it first has one, by its name.

        Records that are no Example do not count.
        """
        told = np.flatnonzero((self.kinds != 0) & ~self.malformed[self.owners])
        names = _binary(self.letters, self.keys.at(told)).to_pylist()
        kinds = self.kinds[told].tolist()
        return dict(zip(reversed(names), reversed(kinds), strict=True))

    def column(self, name: str, kind: int) -> tuple[pa.Array, Bools]:
        """Returns the single values of a feature.

        Args:
            name: The feature.
            kind: BYTES, FLOAT or INT64.
        Returns:
            [n] binary, float32 or int64, null where a record has no such value; and
            [n] whether a record has several, or one of another kind.
        """
        num_records = len(self.malformed)
        chosen = np.flatnonzero(self._named(name.encode()) & (self.kinds != 0))
        wrong = np.bincount(self.owners[chosen], minlength=num_records) > 1
        of_kind = self.kinds[chosen] == kind
        wrong[self.owners[chosen[~of_kind]]] = True
        chosen = chosen[of_kind]
        owners = self.owners[chosen]
        values, counts = _values(self.letters, self.lists.at(chosen), kind)
        wrong[owners[counts > 1]] = True
        place = np.full(num_records, -1)
        place[owners[counts == 1]] = np.flatnonzero(counts == 1)
        absent = wrong | (place < 0)
        return values.take(pa.array(place, mask=absent)), wrong

    def _named(self, name: bytes) -> Bools:
        same: Bools = self.keys.ends - self.keys.begins == len(name)
        chosen = np.flatnonzero(same)
        found = self.letters[self.keys.begins[chosen, None] + np.arange(len(name))]
        same[chosen] = (found == np.frombuffer(name, np.uint8)).all(axis=1)
        return same


def parse_features(content: bytes, records: Spans) -> Features:
    """Finds the features of serialized tf.train.Example protos.

    Args:
        content: The bytes that hold the records.
        records: [n] where they are.
    """
    letters = np.frombuffer(content, np.uint8)
    walks = [_walk(letters, records)]
    owners = np.arange(len(records.begins))
    malformed = np.zeros(len(owners), bool)
    # Features, then its entries: each the field 1 of what is above.
    for _ in range(2):
        walk = walks[-1]
        malformed[owners[walk.malformed]] = True
        below = walk.members(1)
        owners = owners[below.owners]
        walks.append(_walk(letters, below.values))
    entries = walks[-1]
    malformed[owners[entries.malformed]] = True
    keys, values = (entries.members(part).last_of(len(owners)) for part in (1, 2))
    inside = _walk(letters, values)
    malformed[owners[inside.malformed]] = True
    kinds = np.zeros(len(owners), np.int64)
    for kind in (BYTES, FLOAT, INT64):
        kinds[inside.members(kind).owners] = kind
    lists = inside.any_member().last_of(len(owners))
    return Features(letters, owners, keys, kinds, lists, malformed)


@dataclass(frozen=True)
class _Members:
    """Fields of messages: which message each is of, and its value."""

    owners: Int64s
    values: Spans

    def last_of(self, count: int) -> Spans:
        """Returns [count] the last of each message, empty where it has none."""
        spans = Spans(np.zeros(count, np.int64), np.zeros(count, np.int64))
        spans.begins[self.owners] = self.values.begins
        spans.ends[self.owners] = self.values.ends
        return spans


@dataclass(frozen=True)
class _Walk:
    """All fields of some messages, in the order of a message's own.

    Attributes:
        owners: [m] the message of each field.
        numbers: [m] what the field is called.
        wires: [m] how its value is written.
        values: [m] where its value is.
        malformed: [n] whether a message cannot be read to its end.
    """

    owners: Int64s
    numbers: Int64s
    wires: Int64s
    values: Spans
    malformed: Bools

    def members(self, number: int, *wires: int) -> _Members:
        """Returns the fields of a number; only messages and strings unless told."""
        wanted = np.isin(self.wires, wires or (_LENGTH,)) & (self.numbers == number)
        chosen = np.flatnonzero(wanted)
        return _Members(self.owners[chosen], self.values.at(chosen))

    def any_member(self) -> _Members:
        """Returns all fields that are messages."""
        chosen = np.flatnonzero(self.wires == _LENGTH)
        return _Members(self.owners[chosen], self.values.at(chosen))


def _walk(letters: Bytes, messages: Spans) -> _Walk:
    places = messages.begins.copy()
    malformed = np.zeros(len(places), bool)
    active = np.flatnonzero(places < messages.ends)
    parts: list[tuple[Int64s, ...]] = []
    while len(active):
        ends = messages.ends[active]
        tags, begins, good = _varints(letters, places[active], ends)
        wires = tags & 7
        sizes, after, sized = _varints(letters, begins, ends)
        begins = np.where(wires == _LENGTH, after, begins)
        value_ends = np.select(
            [wires == _VARINT, wires == _FIXED64, wires == _FIXED32, wires == _LENGTH],
            # A size beyond the message is cut so that the sum cannot overflow.
            [after, begins + 8, begins + 4, begins + np.minimum(sizes, len(letters))],
            -1,
        )
        good &= (value_ends >= begins) & (value_ends <= ends) & (tags >> 3 > 0)
        good &= sized | ((wires != _VARINT) & (wires != _LENGTH))
        good &= (wires != _LENGTH) | (sizes <= len(letters))
        malformed[active[~good]] = True
        fields = (active, tags >> 3, wires, begins, value_ends)
        parts.append(tuple(array[good] for array in fields))
        places[active] = value_ends
        active = active[good & (value_ends < ends)]
    empty = tuple(np.empty(0, np.int64) for _ in range(5))
    joined = [np.concatenate(arrays) for arrays in zip(empty, *parts, strict=True)]
    order = stable_order(joined[0])
    owners, numbers, kinds, value_begins, value_ends = (part[order] for part in joined)
    return _Walk(owners, numbers, kinds, Spans(value_begins, value_ends), malformed)


def _varints(
    letters: Bytes, places: Int64s, ends: Int64s
) -> tuple[Int64s, Int64s, Bools]:
    """Reads a number at each place.

    Returns:
        The numbers, as int64; where each ends; whether it ends before `ends`.
    """
    values = np.zeros(len(places), np.uint64)
    after = places.copy()
    open_ = np.ones(len(places), bool)
    for step in range(_MAX_VARINT):
        open_ &= after < ends
        if not open_.any():
            break
        letter = letters[np.where(open_, after, 0)].astype(np.uint64)
        digit = (letter & np.uint64(0x7F)) << np.uint64(7 * step)
        values |= np.where(open_, digit, np.uint64(0))
        after += open_
        open_ &= letter >= np.uint64(0x80)
    closed = (after > places) & (letters[np.maximum(after - 1, 0)] < 0x80)
    return values.view(np.int64), after, closed


def _values(letters: Bytes, lists: Spans, kind: int) -> tuple[pa.Array, Int64s]:
    """Reads the first value of each list.

    Returns:
        [m] values, any where there is none; and [m] how many there are, 2 for more or
        for what cannot be read.
    """
    walk = _walk(letters, lists)
    wire = {BYTES: _LENGTH, FLOAT: _FIXED32, INT64: _VARINT}[kind]
    found = walk.members(1, wire, _LENGTH)
    counts = np.bincount(found.owners, minlength=len(lists.begins))
    spans = found.last_of(len(counts))
    counts[walk.malformed] = 2
    if kind == BYTES:
        return _binary(letters, spans), counts
    sizes = spans.ends - spans.begins
    # Numbers may be packed, one after the other in one field; or packed and none.
    counts = np.where((counts == 1) & (sizes == 0), 0, counts)
    if kind == FLOAT:
        counts = np.where((counts == 1) & (sizes != 4), 2, counts)
        begins = np.where(counts == 1, spans.begins, 0)[:, None]
        if not (counts == 1).any():
            return pa.nulls(len(counts), pa.float32()), counts
        found_bytes = np.ascontiguousarray(letters[begins + np.arange(4)])
        return pa.array(found_bytes.view("<f4")[:, 0]), counts
    numbers, after, good = _varints(letters, spans.begins, spans.ends)
    counts = np.where((counts == 1) & ~(good & (after == spans.ends)), 2, counts)
    return pa.array(numbers), counts


def _binary(letters: Bytes, spans: Spans) -> pa.Array:
    lengths = spans.ends - spans.begins
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    places = np.arange(offsets[-1]) + np.repeat(spans.begins - offsets[:-1], lengths)
    buffers = [
        None,
        pa.py_buffer(offsets.astype(np.int32)),
        pa.py_buffer(letters[places]),
    ]
    return pa.Array.from_buffers(pa.binary(), len(lengths), buffers)
