"""Concepts of items, such as director and genre, and what share of them users meet.

Symbols: M -> MultiHot, [num_items, num_values], M_iv = 1 if item i has value v of the
concept; x_u -> the items of user u, each once; c_u -> the shares of user u.
    items     c_u = x_u M / number of items of x_u that have a value
    values    c_u = x_u M / sum of x_u M
With "items" each share lies in [0, 1] and is that of the user's items which have the
value; items with several values make them sum to more than 1. With "values" they are a
distribution. Value 0 is the unknown one: all values that are too rare. An item without
any value has none, not this.

Reference: Wang et al., Causal Disentangled Variational Auto-Encoder (CaD-VAE), SIGIR
2023: c, the labels of the concepts, in Eq. 8 and 14; the concepts in section 3.1.
Deviations: The paper does not say how a user comes to labels that items have; these
shares are our reading.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tfcausal.errors import InputError, unknown_name
from tfcausal.schema import columns
from tfcausal.stats.discretisation import ValueCounts, discretise
from tfcausal.stats.graph import CSR, Edges, Float32s, Int32s, Int64s
from tfcausal.stats.raw_columns import is_text
from tfcausal.stats.vocabulary import (
    count_ids,
    frequent,
    indices_in,
    one_dictionary,
    order_vocabulary,
)

BinRule = Literal["equal_width", "quantile"]
BIN_RULES: tuple[BinRule, ...] = ("equal_width", "quantile")

ShareOf = Literal["items", "values"]
SHARES_OF: tuple[ShareOf, ...] = ("items", "values")

NO_VALUE = -1
"""Fills the values of an item that has fewer than another."""

_ENTRIES_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Binning:
    """How the numbers of a concept become values.

    Attributes:
        rule: equal_width, or quantile (of items).
        num_bins: Number of bins, at least 2.
    """

    rule: BinRule
    num_bins: int

    @classmethod
    def parse(cls, text: str) -> tuple[str, "Binning"]:
        """Reads COLUMN:RULE:NUMBER, such as year:equal_width:10.

        Returns:
            The column, and how it is binned.
        Raises:
            InputError: If the text is of another form.
        """
        column, *rest = text.rsplit(":", 2)
        if len(rest) < 2 or not column:
            raise InputError(
                f"`bins` must be of the form COLUMN:RULE:NUMBER, such as "
                f"year:equal_width:10; got {text}."
            )
        rule, number = rest
        if rule not in BIN_RULES:
            raise unknown_name("rule of `bins`", rule, BIN_RULES)
        if not number.isdecimal() or int(number) < 2:
            raise InputError(
                f"`bins` must give `{column}` at least 2 bins; got {number}."
            )
        return column, cls(rule, int(number))


@dataclass(frozen=True)
class MultiHot:
    """The values of each item: a sparse matrix of ones, by rows.

    Attributes:
        indptr: [num_items + 1] int64; item i has indices[indptr[i] : indptr[i + 1]].
        indices: [n] int32 values, each once and ascending within an item.
    """

    indptr: Int64s
    indices: Int32s

    @property
    def num_described(self) -> int:
        """Number of items that have a value."""
        return int(np.count_nonzero(np.diff(self.indptr)))

    @classmethod
    def of_edges(cls, edges: Edges, num_items: int) -> "MultiHot":
        """Makes it of pairs of an item and a value, ordered and each once."""
        counts = np.bincount(edges.rows, minlength=num_items)
        return cls(np.append(0, np.cumsum(counts)), edges.columns)

    @classmethod
    def from_table(cls, table: pa.Table) -> "MultiHot":
        """Reads what `to_table` made."""
        lists = table[columns.VALUES].combine_chunks()
        counts = lists.value_lengths().to_numpy()
        indptr = np.append(0, np.cumsum(counts, dtype=np.int64))
        return cls(indptr, lists.flatten().to_numpy())

    def padded(self, items: Int32s) -> Int32s:
        """Returns the values of items, [..., most of any item] int32, then `NO_VALUE`.

        Args:
            items: [...] int32.
        """
        counts = np.diff(self.indptr)
        places = np.arange(max(counts.max(initial=0), 1))
        exists = places < counts[items][..., None]
        starts = self.indptr[:-1][items][..., None]
        found = np.full(exists.shape, NO_VALUE, np.int32)
        found[exists] = self.indices[(starts + places)[exists]]
        return found

    def to_table(self) -> pa.Table:
        """Returns a table of `columns.item_values_schema`, a row for each item."""
        offsets = pa.array(self.indptr.astype(np.int32))
        lists = pa.ListArray.from_arrays(offsets, pa.array(self.indices))
        return pa.table([lists], schema=columns.item_values_schema())


@dataclass(frozen=True)
class IndexedConcept:
    """A concept whose values have numbers.

    Attributes:
        values: A table of `columns.concept_values_schema`; row order is the index.
        items: The values of each item.
    """

    values: pa.Table
    items: MultiHot


@dataclass(frozen=True)
class ConceptRule:
    """Which values of a column of features a concept has.

    Attributes:
        name: The column.
        min_count: Values of fewer items become the unknown one.
        max_values: Only so many values are kept, the most frequent; None for all.
        binning: How numbers are binned; None where each value stands for itself. Bins
            are all kept, whatever `min_count` and `max_values` say.
    """

    name: str
    min_count: int = 1
    max_values: int | None = None
    binning: Binning | None = None

    def require_fits(self, kind: pa.DataType) -> None:
        """Raises InputError unless a column of this type can be indexed."""
        if self.binning is not None:
            if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
                raise InputError(
                    f"`bins` must name columns of numbers; `{self.name}` is {kind}. "
                    "Leave it out there."
                )
            return
        one = kind.value_type if pa.types.is_list(kind) else kind
        one = one.value_type if pa.types.is_dictionary(one) else one
        if pa.types.is_floating(one):
            raise InputError(
                f"`{self.name}` must hold texts, whole numbers or lists of them, or be "
                f"binned; it is {kind}. Pass --bins={self.name}:quantile:10, or "
                "another number."
            )
        simple = is_text(one) or pa.types.is_integer(one)
        if not (simple or pa.types.is_boolean(one) or pa.types.is_temporal(one)):
            raise InputError(
                f"`{self.name}` must hold texts, whole numbers or lists of them; it is "
                f"{kind}. Choose another column."
            )

    def index(self, column: pa.ChunkedArray) -> IndexedConcept:
        """Gives the values numbers.

        Args:
            column: [num_items] of a type that fits; null where nothing is known.
        Raises:
            InputError: If no value is left, or numbers cannot be binned.
        """
        if self.binning is None:
            return self._categories(column)
        return self._bins(column, self.binning)

    def _categories(self, column: pa.ChunkedArray) -> IndexedConcept:
        pairs = _pairs(column)
        if not len(pairs.items):
            raise _no_value(self.name)
        found = Edges.of_pairs(pairs.items, pairs.values.indices.to_numpy())
        texts = pa.DictionaryArray.from_arrays(
            pa.array(found.columns), pairs.values.dictionary
        )
        counts = count_ids(texts)
        vocabulary = order_vocabulary(
            frequent(counts, self.min_count), columns.VALUE
        ).slice(0, None if self.max_values is None else self.max_values + 1)
        if len(vocabulary) == 1:
            most = pc.max(counts[columns.COUNT])
            raise InputError(
                f"`min_count` must leave values of `{self.name}`; none has more than "
                f"{most} items. Lower it, or leave the concept out."
            )
        known = vocabulary[columns.VALUE].combine_chunks()
        # Several rare values of an item are the unknown one once.
        edges = Edges.of_pairs(found.rows, indices_in(texts, known))
        numbers = np.bincount(edges.columns, minlength=len(known))
        return IndexedConcept(
            pa.table(
                [known, pa.array(numbers, pa.int64())],
                schema=columns.concept_values_schema(binned=False),
            ),
            MultiHot.of_edges(edges, len(column)),
        )

    def _bins(self, column: pa.ChunkedArray, binning: Binning) -> IndexedConcept:
        numbers = column.cast(pa.float64(), safe=False).to_numpy()
        found = ValueCounts.of(numbers, np.ones(len(numbers), np.int64))
        if not len(found.values):
            raise _no_value(self.name)
        found.require_usable(self.name)
        if len(found.values) < 2:
            raise InputError(
                f"`{self.name}` must have at least two values to be binned; all are "
                f"{found.values[0]}. Leave the concept out."
            )
        bins = discretise(found, binning.rule, binning.num_bins)
        items = np.flatnonzero(~np.isnan(numbers)).astype(np.int32)
        edges = Edges(items, bins.assign(numbers[items]) + np.int32(1))
        last = len(bins.lower) - 1
        labels = [
            f"[{lower}, {upper}{']' if number == last else ')'}"
            for number, (lower, upper) in enumerate(
                zip(bins.lower.tolist(), bins.upper.tolist(), strict=True)
            )
        ]
        counts = np.bincount(edges.columns, minlength=len(labels) + 1)
        return IndexedConcept(
            pa.table(
                [
                    pa.array(["", *labels]),
                    pa.array(counts, pa.int64()),
                    pa.array(np.append(np.nan, bins.lower)),
                    pa.array(np.append(np.nan, bins.upper)),
                ],
                schema=columns.concept_values_schema(binned=True),
            ),
            MultiHot.of_edges(edges, len(column)),
        )


def _no_value(name: str) -> InputError:
    return InputError(
        f"`{name}` must have a value for some item of the data set; found none. Check "
        "the table of features, or leave the concept out."
    )


@dataclass(frozen=True)
class _Pairs:
    items: Int32s
    values: pa.DictionaryArray


def _pairs(column: pa.ChunkedArray) -> _Pairs:
    """Returns the item and the text of each value; repeated ones are repeated."""
    joined = pa.concat_arrays([pa.array([], column.type), *column.chunks])
    if pa.types.is_list(column.type):
        owners, elements = pc.list_parent_indices(joined), joined.flatten()
    else:
        owners, elements = pa.array(np.arange(len(joined))), joined
    if pa.types.is_dictionary(elements.type):
        elements = elements.dictionary_decode()
    texts = elements.cast(pa.string())
    # The empty text is the name of the unknown value.
    present = pc.not_equal(texts, "").fill_null(False)
    encoded = texts.filter(present).dictionary_encode()
    items = owners.filter(present).to_numpy().astype(np.int32)
    return _Pairs(items, one_dictionary(pa.chunked_array([encoded])))


def user_shares(
    pairs: Edges, items: MultiHot, num_values: int, share_of: ShareOf
) -> pa.Table:
    """Counts the values that the items of each user have.

    Args:
        pairs: User and item of each interaction, ordered and each once.
        items: The values of each item.
        num_values: Number of values, the unknown one included.
        share_of: What the shares are of: "items" or "values".
    Returns:
        A table of `columns.user_shares_schema`, a row for each user that has an item,
        by ascending user.
    """
    lengths = np.diff(items.indptr)
    blocks = [
        _block_shares(block, items, lengths, num_values, share_of)
        for block in _blocks(pairs, lengths)
    ]
    return pa.concat_tables([columns.user_shares_schema().empty_table(), *blocks])


def _blocks(pairs: Edges, lengths: Int64s) -> Iterator[Edges]:
    """Cuts pairs between users, so that few values are in memory at once."""
    if not len(pairs.rows):
        return
    begins = np.flatnonzero(np.diff(pairs.rows, prepend=-1))
    before = np.append(0, np.cumsum(lengths[pairs.columns]))[begins]
    block = before // _ENTRIES_AT_ONCE
    cuts = begins[np.flatnonzero(np.diff(block, prepend=-1))].tolist()
    for begin, end in zip(cuts, [*cuts[1:], len(pairs.rows)], strict=True):
        yield Edges(pairs.rows[begin:end], pairs.columns[begin:end])


def _block_shares(
    pairs: Edges,
    items: MultiHot,
    lengths: Int64s,
    num_values: int,
    share_of: ShareOf,
) -> pa.Table:
    is_first = np.diff(pairs.rows, prepend=-1) != 0
    place = np.cumsum(is_first) - 1
    num_users = int(place[-1]) + 1
    of_pair = lengths[pairs.columns]
    ends = np.cumsum(of_pair)
    # Where each value of each pair stands in items.indices.
    shifts = items.indptr[pairs.columns] - (ends - of_pair)
    found = items.indices[np.arange(ends[-1]) + np.repeat(shifts, of_pair)]
    keys = np.repeat(place, of_pair) * num_values + found
    met, counts = np.unique(keys, return_counts=True)
    owners = met // num_values
    described = np.bincount(place[of_pair > 0], minlength=num_users)
    totals = (
        described
        if share_of == "items"
        else np.bincount(np.repeat(place, of_pair), minlength=num_users)
    )
    offsets = np.searchsorted(owners, np.arange(num_users + 1)).astype(np.int32)
    entries = (
        (met - owners * num_values).astype(np.int32),
        counts.astype(np.int32),
        (counts / totals[owners]).astype(np.float32),
    )
    return pa.table(
        [
            pa.array(pairs.rows[is_first]),
            pa.array(described.astype(np.int32)),
            *(
                pa.ListArray.from_arrays(pa.array(offsets), pa.array(entry))
                for entry in entries
            ),
        ],
        schema=columns.user_shares_schema(),
    )


def shares_matrix(tables: Sequence[pa.Table], num_users: int) -> CSR:
    """Joins the shares of users that lie in several tables.

    Args:
        tables: From `user_shares`, no user in two of them.
        num_users: Rows of the user vocabulary.
    Returns:
        [num_users, num_values]; users without a value have no entry.
    """
    names = [columns.USER, columns.VALUES, columns.SHARES]
    as_rows = [columns.NODE, columns.NEIGHBOURS, columns.VALUES]
    rows = [table.select(names).rename_columns(as_rows) for table in tables]
    return CSR.from_tables(rows, num_users)


def mean_shares(shares: CSR, num_values: int) -> Float32s:
    """Returns the mean of the users that have a share.

    Args:
        shares: [num_users, num_values].
        num_values: Number of values.
    Returns:
        [num_values] float32; zeros where no user has a share.
    """
    sums = np.bincount(shares.indices, shares.values, num_values)
    num_users = max(1, int(np.count_nonzero(np.diff(shares.indptr))))
    return (sums / num_users).astype(np.float32)


def dense_shares(
    shares: CSR, users: npt.NDArray[np.integer], otherwise: Float32s
) -> Float32s:
    """Returns the shares of some users as rows.

    Args:
        shares: [num_users, num_values].
        users: [n] rows of it.
        otherwise: [num_values] float32, the row of a user without any share.
    Returns:
        [n, num_values] float32.
    """
    counts = shares.indptr[users + 1] - shares.indptr[users]
    dense = np.zeros((len(users), len(otherwise)), np.float32)
    dense[counts == 0] = otherwise
    ends = np.cumsum(counts)
    shifts = shares.indptr[users] - (ends - counts)
    places = np.arange(counts.sum()) + np.repeat(shifts, counts)
    owners = np.repeat(np.arange(len(users)), counts)
    dense[owners, shares.indices[places]] = shares.values[places]
    return dense
