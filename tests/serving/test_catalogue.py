"""Blocks of a catalogue are rows of the exported model, whatever their size."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tfcausal.schema.exported import ids_file
from tfcausal.serving.catalogue import Catalogue, load_catalogue
from tfcausal.serving.export import read_back
from tfcausal.serving.index_files import read_ids


@pytest.fixture(scope="module")
def catalogue(exported: Path) -> Catalogue:
    return load_catalogue(exported)


@pytest.mark.parametrize(("first", "end"), [(1, 80), (1, 2), (33, 70)])
def test_items(catalogue: Catalogue, exported: Path, first: int, end: int) -> None:
    vectors, _, popularity = read_back(exported)
    ids = read_ids(ids_file(exported, "items"))[first - 1 : end - 1]
    found = catalogue.items(ids, first)
    assert found["item"].to_pylist() == list(range(first, end))
    assert found["item_id"].to_pylist() == ids
    assert found["popularity"].to_pylist() == popularity[first:end].tolist()
    rows = np.asarray(found["embedding"].to_pylist(), np.float32)
    np.testing.assert_array_equal(rows, vectors.candidates[first:end])


@pytest.mark.parametrize(("first", "end"), [(1, 120), (1, 2), (33, 70)])
def test_users(catalogue: Catalogue, exported: Path, first: int, end: int) -> None:
    vectors, seen, _ = read_back(exported)
    ids = read_ids(ids_file(exported, "users"))[first - 1 : end - 1]
    found = catalogue.users(ids, first)
    assert found["user"].to_pylist() == list(range(first, end))
    assert all(found["known_user"].to_pylist())
    lists = found["seen"].combine_chunks()
    assert lists.flatten().to_pylist() == (
        seen.items[seen.offsets[first] : seen.offsets[end]].tolist()
    )
    assert lists.value_lengths().to_pylist() == seen.lengths[first:end].tolist()
    embedding = found["embedding"].combine_chunks()
    assert pa.types.is_fixed_size_list(embedding.type.value_type)
    rows = np.asarray(embedding.to_pylist(), np.float32)
    np.testing.assert_array_equal(rows, vectors.queries[first:end])
