"""Counts of ids and the order of vocabularies."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from tfcausal.stats import vocabulary


def encoded(texts: list[str]) -> pa.DictionaryArray:
    return pa.array(texts, pa.string()).dictionary_encode()


def as_dict(counts: pa.Table) -> dict[str, int]:
    return dict(zip(counts["id"].to_pylist(), counts["count"].to_pylist(), strict=True))


@pytest.mark.parametrize("cuts", [[], [3], [1, 1, 7], [2, 4, 6, 8]])
def test_any_grouping_gives_the_same_counts(cuts: list[int]) -> None:
    texts = list("abracadabra")
    ends = [0, *cuts, len(texts)]
    tables = [
        vocabulary.count_ids(encoded(texts[begin:end])) for begin, end in pairwise(ends)
    ]
    nested = vocabulary.merge_counts([vocabulary.merge_counts(tables[:2]), *tables[2:]])
    assert as_dict(nested) == dict(Counter(texts))


def test_nothing_merges_to_nothing() -> None:
    assert as_dict(vocabulary.merge_counts([])) == {}


def test_order_is_by_count_then_by_bytes() -> None:
    texts = ["b", "b", "é", "Z", "a", "10", "9"]
    counts = vocabulary.merge_counts([vocabulary.count_ids(encoded(texts))])
    table = vocabulary.order_vocabulary(counts, "item_id")
    # By bytes capitals come before small letters, and é (C3 A9) after all of ASCII.
    assert table.to_pydict() == {
        "item_id": ["", "b", "10", "9", "Z", "a", "é"],
        "count": [0, 2, 1, 1, 1, 1, 1],
    }
    assert vocabulary.frequent(counts, 2)["id"].to_pylist() == ["b"]


def test_lookup_of_known_and_unknown_ids() -> None:
    ids = encoded(["x", "b", "x", "a"])
    known = pa.array(["", "a", "b"])
    assert vocabulary.indices_in(ids, known).tolist() == [0, 2, 0, 1]
    some = vocabulary.count_ids(encoded(["a", "b"]))
    assert vocabulary.is_among(ids, some).tolist() == [False, True, False, True]


def test_chunks_and_their_dictionaries_do_not_show() -> None:
    chunks = [encoded(["b", "a"]), encoded(["c"]), encoded(["a", "c"])]
    found = vocabulary.sorted_dictionary(pa.chunked_array(chunks))
    assert found.dictionary.to_pylist() == ["a", "b", "c"]
    assert found.indices.to_pylist() == [1, 0, 2, 0, 2]
    whole = vocabulary.sorted_dictionary(
        pa.chunked_array([encoded(["b", "a", "c", "a", "c"])])
    )
    assert np.array_equal(whole.indices, found.indices)
    empty = pa.chunked_array([], pa.dictionary(pa.int32(), pa.string()))
    assert len(vocabulary.sorted_dictionary(empty)) == 0
