"""The live index: changes, rebuilds, folders, many threads, and SIGKILL."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from tfcausal.errors import InputError
from tfcausal.schema.manifest import read_manifest
from tfcausal.schema.vectors import Float32s
from tfcausal.serving import index_settings, live_index
from tfcausal.serving.index_files import load_index, require_as_built
from tfcausal.serving.index_settings import IndexSettings
from tfcausal.serving.item_index import ItemIndex
from tfcausal.serving.live_index import LiveIndex

pytest.importorskip("scann")
NUM_ITEMS, DIM = 2000, 8
TREE = IndexSettings(num_leaves=20, leaves_to_search=10, reorder=200)


def some_vectors(count: int, seed: int) -> Float32s:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, DIM)).astype(np.float32)


@pytest.fixture(params=[None, TREE], ids=["flat", "tree"])
def live(request: pytest.FixtureRequest) -> LiveIndex:
    items = [f"i{row}" for row in range(NUM_ITEMS)]
    return LiveIndex.build(items, some_vectors(NUM_ITEMS, 0), request.param)


@pytest.fixture
def flat() -> LiveIndex:
    items = [f"i{row}" for row in range(NUM_ITEMS)]
    return LiveIndex.build(items, some_vectors(NUM_ITEMS, 0))


def ids(live: LiveIndex | ItemIndex, query: Float32s, k: int) -> list[str]:
    return [item for item, _ in live.search(query[None], k)[0]]


def far(number: int) -> Float32s:
    """A vector whose own item is by far the best for it."""
    vector = np.zeros(DIM, np.float32)
    vector[number % DIM] = 50 + number
    return vector


def test_what_is_upserted_is_found_at_once(live: LiveIndex) -> None:
    live.upsert(["new", "i3"], np.stack([far(0), far(1)]))
    assert ids(live, far(0), 1) == ["new"]
    assert ids(live, far(1), 1) == ["i3"]
    assert len(live) == NUM_ITEMS + 1
    # The old vector of i3 no longer counts: only the new one's score is listed.
    query = some_vectors(NUM_ITEMS, 0)[3]
    scores = dict(live.search(query[None], NUM_ITEMS + 1)[0])
    assert len(scores) == NUM_ITEMS + 1
    assert scores["i3"] == pytest.approx(float(far(1) @ query), rel=1e-5)
    np.testing.assert_array_equal(live.snapshot().vectors(["i3", "new"])[0], far(1))
    live.upsert(["new"], far(2)[None])
    assert ids(live, far(2), 1) == ["new"]
    assert len(live) == NUM_ITEMS + 1


def test_what_is_deleted_is_never_found(live: LiveIndex) -> None:
    query = some_vectors(1, 5)[0]
    ranked = ids(live, query, NUM_ITEMS)
    live.upsert(["new"], far(0)[None])
    assert live.delete([*ranked[:700], "new", "no such item"]) == 701
    assert len(live) == NUM_ITEMS - 700
    # Too little of the usual depth is left: all leaves are searched, exactly.
    assert ids(live, query, 50) == ranked[700:750]
    assert "new" not in live.snapshot()
    live.upsert([ranked[0]], far(3)[None])
    assert ids(live, far(3), 1) == [ranked[0]]


def test_exclusion_counts_for_old_and_new(live: LiveIndex) -> None:
    live.upsert(["new"], far(0)[None])
    live.delete(["i5"])
    usual = ids(live, far(0), 30)
    assert usual[0] == "new"
    (found,) = live.search(far(0)[None], 20, [{"new", usual[3], "i5", "?"}])
    rest = [item for item in usual if item not in ("new", usual[3])]
    assert [item for item, _ in found] == rest[:20]
    (found,) = live.search(far(0)[None], 20, (), {"new", "i5", "i6", "i7"})
    assert {item for item, _ in found} == {"new", "i6", "i7"}


def test_a_snapshot_never_changes(flat: LiveIndex) -> None:
    before = flat.snapshot()
    expected = ids(before, far(0), 10)
    flat.upsert(["new"], far(0)[None])
    flat.delete(expected[:3])
    assert ids(before, far(0), 10) == expected
    assert ids(flat, far(0), 8) == ["new", *expected[3:]]


def test_rebalance_folds_everything_in(live: LiveIndex) -> None:
    live.upsert([f"n{row}" for row in range(100)], some_vectors(100, 1))
    live.delete([f"i{row}" for row in range(300)])
    query = some_vectors(1, 5)
    left = [f"i{row}" for row in range(300, NUM_ITEMS)]
    vectors = np.concatenate([some_vectors(NUM_ITEMS, 0)[300:], some_vectors(100, 1)])
    items = [*left, *(f"n{row}" for row in range(100))]
    expected = dict(zip(items, (vectors @ query[0]).tolist(), strict=True))
    live.rebalance()
    index = live.snapshot()
    assert (index.num_changed, len(index)) == (0, NUM_ITEMS - 200)
    # For as many places as there are items all leaves are searched.
    found = dict(live.search(query, NUM_ITEMS - 200)[0])
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert live.recall(some_vectors(30, 6), 20) >= 0.9
    live.rebalance()
    assert live.snapshot() is index


def test_too_many_changes_start_a_rebuild(
    live: LiveIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_index, "_AT_LEAST", 50)
    live.upsert(["few"], far(1)[None])
    assert live.snapshot().num_changed == 1
    live.upsert([f"n{row}" for row in range(60)], some_vectors(60, 1))
    live.wait()
    assert live.snapshot().num_changed == 0
    assert len(live) == NUM_ITEMS + 61
    assert ids(live, far(1), 1) == ["few"]


def test_what_changes_while_it_is_rebuilt_is_kept(
    live: LiveIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.upsert(["old", "going", "moving"], np.stack([far(0), far(1), far(2)]))
    folded = ItemIndex.folded

    def slowly(index: ItemIndex, settings: IndexSettings | None = None) -> object:
        built = folded(index, settings)
        live.upsert(["late", "moving"], np.stack([far(3), far(4)]))
        live.delete(["going", "i7"])
        return built

    monkeypatch.setattr(ItemIndex, "folded", slowly)
    live.rebalance()
    index = live.snapshot()
    assert len(index) == NUM_ITEMS + 2
    assert set(index.added) == {"late", "moving"}
    assert [ids(live, far(row), 1)[0] for row in (0, 3, 4)] == ["old", "late", "moving"]
    assert not {"going", "i7"} & set(ids(live, far(1), NUM_ITEMS + 2))


def test_a_swap_beats_a_rebuild(
    flat: LiveIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    LiveIndex.build(["other"], far(0)[None]).save(tmp_path / "other")
    folded = ItemIndex.folded

    def swapped_meanwhile(
        index: ItemIndex, settings: IndexSettings | None = None
    ) -> object:
        flat.swap(tmp_path / "other")
        return folded(index, settings)

    monkeypatch.setattr(ItemIndex, "folded", swapped_meanwhile)
    flat.delete(["i1"])
    flat.rebalance()
    assert ids(flat, far(0), 5) == ["other"]


def test_without_memory_changes_keep_waiting(
    flat: LiveIndex, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live_index, "_AT_LEAST", 5)
    monkeypatch.setattr(index_settings, "free_memory", lambda: 0)
    flat.upsert([f"n{row}" for row in range(30)], some_vectors(30, 1))
    flat.wait()
    assert flat.snapshot().num_changed == 30
    assert "changes keep waiting" in caplog.text
    with pytest.raises(InputError, match="of memory to be built"):
        flat.rebalance()


def test_a_folder_holds_all_changes(live: LiveIndex, tmp_path: Path) -> None:
    live.upsert(["new", "i3"], np.stack([far(0), far(1)]))
    live.delete(["i4", "i5"])
    live.save(tmp_path / "index")
    read = LiveIndex.open(tmp_path / "index")
    queries = some_vectors(5, 7)
    assert read.search(queries, 30) == live.search(queries, 30)
    assert read.snapshot().num_changed == live.snapshot().num_changed
    manifest = read_manifest(tmp_path / "index", kind="index")
    assert manifest.counts == {"items": NUM_ITEMS - 1, "changed": 5}
    read.rebalance()
    read.save(tmp_path / "index")
    again = load_index(tmp_path / "index")
    assert (again.num_changed, len(again)) == (0, NUM_ITEMS - 1)
    with pytest.raises(InputError, match="must not exist yet"):
        read.save(tmp_path / "index", overwrite=False)


def test_nothing_may_be_left(flat: LiveIndex, tmp_path: Path) -> None:
    flat.delete([f"i{row}" for row in range(NUM_ITEMS)])
    assert flat.search(some_vectors(2, 1), 5) == [[], []]
    flat.rebalance()
    flat.save(tmp_path / "index")
    assert len(load_index(tmp_path / "index")) == 0
    flat.upsert(["new"], far(0)[None])
    assert ids(flat, far(0), 5) == ["new"]


@pytest.mark.parametrize(
    ("items", "vectors", "words"),
    [
        (["a", "b", "a"], np.ones((3, DIM)), "each item once; twice or more: a"),
        (["a"], np.ones((1, 3)), "must have 8 dimensions; got 3"),
        (["a"], np.ones(DIM), r"must be \[1, dim\]"),
        (["a"], np.full((1, DIM), np.inf), "must be finite; that of 'a' is not"),
        ([""], np.ones((1, DIM)), "ids of one line each"),
    ],
)
def test_refused_changes_change_nothing(
    flat: LiveIndex, items: list[str], vectors: Float32s, words: str
) -> None:
    before = flat.snapshot()
    with pytest.raises(InputError, match=words):
        flat.upsert(items, vectors.astype(np.float32))
    assert flat.snapshot() is before


def test_threads_always_see_one_whole_state(tmp_path: Path) -> None:
    """Items come and go in pairs, whose vectors are the best of their own query."""
    items = [f"i{row}" for row in range(NUM_ITEMS)]
    live = LiveIndex.build(items, some_vectors(NUM_ITEMS, 0), TREE)
    live.save(tmp_path / "index")
    over = Event()
    pair = np.stack([far(0), far(0)])

    def search() -> int:
        count = 0
        while not over.is_set():
            found = set(ids(live, far(0), 2))
            # Both of a pair, or none; never one alone, nor two of different pairs.
            names = {item[1:] for item in found if item[0] in "ab"}
            assert len(names) <= 1, found
            assert len(found) == 2
            assert not names or {item[0] for item in found} == {"a", "b"}, found
            count += 1
        return count

    def change() -> int:
        for number in range(200):
            names = [f"a{number}", f"b{number}"]
            live.upsert(names, pair)
            assert set(ids(live, far(0), 2)) == set(names)
            assert live.delete(names) == 2
            assert not set(names) & set(ids(live, far(0), 10))
        return 200

    def rebuild() -> int:
        for number in range(10):
            live.upsert(["i1"], some_vectors(1, number))
            live.rebalance()
            live.save(tmp_path / "index")
        return 10

    with ThreadPoolExecutor(8) as pool:
        searches = [pool.submit(search) for _ in range(4)]
        writers = [pool.submit(change), pool.submit(rebuild)]
        try:
            assert [writer.result() for writer in writers] == [200, 10]
        finally:
            over.set()
        assert all(one.result() > 0 for one in searches)
    assert len(live) == NUM_ITEMS
    live.swap(tmp_path / "index")
    assert len(live) in (NUM_ITEMS, NUM_ITEMS + 2)


SAVES = """
import sys
from pathlib import Path
from tfcausal.serving.live_index import LiveIndex
import numpy as np
live = LiveIndex.open(Path(sys.argv[1]))
live.upsert(["second"], np.full((1, 8), 100, np.float32))
print("saving", flush=True)
live.save(Path(sys.argv[1]))
"""


def run_killed(folder: Path, is_time: Callable[[Path], bool]) -> int:
    """Saves into a folder in another process and kills it once it is time."""
    process = subprocess.Popen(
        [sys.executable, "-c", SAVES, str(folder)],
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "saving\n"
    partial = folder.parent / f".{folder.name}.partial"
    while process.poll() is None:
        if is_time(partial):
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.0005)
    return process.wait()


@pytest.mark.slow
def test_killed_as_it_writes_the_last_index_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    count = 100_000
    items = [f"i{row}" for row in range(count)]
    first = LiveIndex.build(items, some_vectors(count, 0), IndexSettings())
    first.save(folder)
    manifest = read_manifest(folder, kind="index")
    code = run_killed(folder, lambda partial: (partial / "vectors.npy").exists())
    assert code == -signal.SIGKILL
    assert (tmp_path / ".index.partial").is_dir()
    assert read_manifest(folder, kind="index") == manifest
    query = some_vectors(1, 3)
    assert LiveIndex.open(folder).search(query, 5) == first.search(query, 5)
    # The next one starts afresh.
    assert run_killed(folder, lambda _: False) == 0
    assert ids(LiveIndex.open(folder), np.ones(8, np.float32), 1) == ["second"]
    assert {path.name for path in tmp_path.iterdir()} == {"index"}


def test_an_index_that_has_changed_is_not_as_built(
    tmp_path: Path, flat: LiveIndex
) -> None:
    flat.upsert(["i3"], far(0)[None])
    flat.rebalance()
    assert flat.snapshot().num_changed == 0
    flat.save(tmp_path / "index")
    manifest = read_manifest(tmp_path / "index", kind="index")
    with pytest.raises(InputError, match="must be the index as built"):
        require_as_built(tmp_path / "index", manifest)


def test_places_beyond_the_catalogue_are_none(flat: LiveIndex) -> None:
    assert len(ids(flat, far(0), 10**9)) == NUM_ITEMS
