"""The index: recall, exclusion, what it refuses, and a fresh process."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfcausal.errors import InputError
from tfcausal.schema.manifest import read_manifest
from tfcausal.schema.vectors import Float32s
from tfcausal.serving import index_settings
from tfcausal.serving.index import build_index, forecast
from tfcausal.serving.index_files import load_index, write_ids
from tfcausal.serving.index_recall import recall_at, recall_of, widened
from tfcausal.serving.index_settings import IndexSettings
from tfcausal.serving.item_index import IndexedItems, ItemIndex
from tfcausal.serving.versions import index_folder

pytest.importorskip("scann")
TREE = IndexSettings(num_leaves=40, leaves_to_search=4, reorder=60)


@pytest.fixture(scope="module")
def vectors() -> Float32s:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(40, 16)) * 2
    spread = rng.normal(size=(3000, 16)) * 0.4
    return (centres[rng.integers(0, 40, 3000)] + spread).astype(np.float32)


@pytest.fixture(scope="module", params=[IndexSettings(), TREE], ids=["flat", "tree"])
def index(request: pytest.FixtureRequest, vectors: Float32s) -> ItemIndex:
    names = [f"i{row}" for row in range(len(vectors))]
    return ItemIndex.of(IndexedItems.build(names, vectors, request.param))


@pytest.fixture
def model(tmp_path: Path, exported: Path) -> Path:
    return shutil.copytree(exported, tmp_path / "dice" / "1")


def queries(vectors: Float32s, count: int) -> Float32s:
    rng = np.random.default_rng(1)
    chosen = vectors[rng.integers(0, len(vectors), count)]
    return (chosen + rng.normal(size=chosen.shape) * 0.2).astype(np.float32)


def test_recall(index: ItemIndex, vectors: Float32s) -> None:
    assert recall_at(index, queries(vectors, 50), 20) >= 0.9


def test_ties_cost_no_recall(index: ItemIndex, vectors: Float32s) -> None:
    assert recall_at(index, np.zeros((1, 16), np.float32), 20) == 1.0


def test_scores_are_inner_products(index: ItemIndex, vectors: Float32s) -> None:
    asked = queries(vectors, 3)
    for query, found in zip(asked, index.search(asked, 5), strict=True):
        rows = [int(item[1:]) for item, _ in found]
        scores = [score for _, score in found]
        np.testing.assert_allclose(scores, vectors[rows] @ query, rtol=1e-5)
        assert scores == sorted(scores, reverse=True)


def test_exclusion_is_a_true_mask(index: ItemIndex, vectors: Float32s) -> None:
    asked = queries(vectors, 4) * np.float32(1e6)
    order = np.argsort(-(asked @ vectors.T), axis=1)
    excluded = [{f"i{row}" for row in rows[:2500]} | {"?"} for rows in order]
    excluded[3] = set()
    found = index.search(asked, 30, excluded)
    for row, items in enumerate(found):
        names = [item for item, _ in items]
        assert len(set(names)) == 30
        assert not set(names) & excluded[row]
    # Where the leaves held too few, all were searched: then the answer is exact.
    assert [item for item, _ in found[0]] == [f"i{row}" for row in order[0, 2500:2530]]


def test_no_more_than_there_is(index: ItemIndex, vectors: Float32s) -> None:
    asked = queries(vectors, 1)
    assert len(index.search(asked, 10_000)[0]) == 3000
    everything = {f"i{row}" for row in range(3000)}
    assert index.search(asked, 5, [everything]) == [[]]
    assert len(index.search(asked, 5, [everything - {"i7"}])[0]) == 1
    assert index.search(asked[:0], 5) == []


def test_search_refuses(index: ItemIndex, vectors: Float32s) -> None:
    with pytest.raises(InputError, match="`k` must be at least 1"):
        index.search(queries(vectors, 1), 0)
    with pytest.raises(InputError, match="Scores must stay finite"):
        index.search(np.full((1, 16), np.nan, np.float32), 5)
    with pytest.raises(InputError, match="Scores must stay finite"):
        index.search(np.full((1, 16), 2e38, np.float32), 5)


def test_lists_are_of_allowed_items(index: ItemIndex, vectors: Float32s) -> None:
    asked = queries(vectors, 3)
    allowed = [f"i{row}" for row in range(0, 3000, 7)]
    scores = asked @ vectors[::7].T
    found = index.search(asked, 10, [(), {"i0", "i7"}, ()], [*allowed, "?", "i7"])
    for row in (0, 2):
        best = np.argsort(-scores[row])[:10]
        assert [item for item, _ in found[row]] == [allowed[place] for place in best]
    assert not {"i0", "i7"} & {item for item, _ in found[1]}
    assert len(found[1]) == 10
    assert index.search(asked, 10, (), []) == [[], [], []]
    assert len(index.search(asked, 10, (), ["i1", "i1"])[0]) == 1


def test_settings_follow_the_size() -> None:
    assert IndexSettings.for_items(2_800).num_leaves == 0
    assert IndexSettings.for_items(25_000) == IndexSettings(474, 300, 1000)
    assert IndexSettings.for_items(1_000_000) == IndexSettings(3000, 300, 1000)


def test_wider_settings_end_with_all_leaves() -> None:
    assert IndexSettings(100, 30, 200).wider() == IndexSettings(100, 60, 300)
    assert IndexSettings(100, 60, 300).wider() == IndexSettings(100, 100, 450)
    assert IndexSettings(100, 100, 450).wider() is None
    assert IndexSettings().wider() is None


@pytest.mark.parametrize(
    ("items", "change", "words"),
    [
        (["a", "b", "a"], {}, "must name each item once; twice or more: a"),
        (["a", "b\n", "c"], {}, r"must be ids of one line each; got 'b\\n'"),
        (["a", "", "c"], {}, "must be ids of one line each; got ''"),
        (["a", "b"], {}, r"must be \[2, dim\], a row for each item; got \[3, 4\]"),
        (["a", "b", "c"], {"b": np.nan}, "must be finite; that of 'b' is not"),
        ([], {}, r"got \[3, 4\]"),
    ],
)
def test_build_refuses(items: list[str], change: dict[str, float], words: str) -> None:
    vectors = np.ones((3, 4), np.float32)
    for item, value in change.items():
        vectors[items.index(item), 2] = value
    with pytest.raises(InputError, match=words):
        IndexedItems.build(items, vectors)
    with pytest.raises(InputError, match="must be float32; got float64"):
        IndexedItems.build(["a"], np.ones((1, 4)))
    with pytest.raises(InputError, match="must have at least one item"):
        IndexedItems.build([], np.ones((0, 4), np.float32))


def test_built_from_the_exported_model(tmp_path: Path, model: Path) -> None:
    folder = build_index(model)
    assert folder == model.parent / "1-scann"
    manifest = read_manifest(folder, kind="index")
    assert set(manifest.details["recall"]) == {
        "as trained",
        *(
            f"{cause}={weight}"
            for cause in ("interest", "conformity")
            for weight in ("0", "0.25", "0.5", "2")
        ),
    }
    assert manifest.inputs["export"] == read_manifest(model, kind="export").fingerprint
    moved = folder.rename(tmp_path / "moved")
    script = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from tfcausal.serving.index_files import load_index\n"
        "index = load_index(Path(sys.argv[1]))\n"
        "print(len(index.search(np.ones((2, 8), np.float32), 5)[1]))\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script, str(moved)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.split()[-1] == "5"


def test_a_recall_below_the_floor_keeps_nothing(model: Path) -> None:
    # Scores by four bits for two dimensions, none of them computed again.
    coarse = IndexSettings(num_leaves=1, leaves_to_search=1, reorder=10)
    with pytest.raises(
        InputError, match=r"recall@10 must be at least 0\.999; got 0\.\d+ as trained"
    ):
        build_index(model, k=10, floor=0.999, settings=coarse)
    assert [path.name for path in model.parent.iterdir()] == ["1"]


def test_more_leaves_are_searched_until_the_recall_is_there(vectors: Float32s) -> None:
    narrow = IndexSettings(num_leaves=40, leaves_to_search=1, reorder=20)
    names = [f"i{row}" for row in range(len(vectors))]
    built = IndexedItems.build(names, vectors, narrow)
    rng = np.random.default_rng(2)
    asked = {
        "near": queries(vectors, 20),
        "anywhere": rng.normal(size=(20, 16)).astype(np.float32),
    }
    assert min(recall_of(built, asked, 20).values()) < 0.9
    wide, recall = widened(built, asked, 20, 0.97)
    assert min(recall.values()) >= 0.97
    assert recall == recall_of(wide, asked, 20)
    assert 1 < wide.searcher.settings.leaves_to_search <= 40


def test_memory_that_is_not_free_is_refused(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_settings, "free_memory", lambda: 2**20)
    with pytest.raises(
        InputError, match=r"index of 79 items of 8 dimensions must have about 0\.4 GiB"
    ):
        build_index(model)
    assert not index_folder(model).exists()
    assert build_index(model, ignore_memory=True).is_dir()


def test_says_what_memory_it_will_take(model: Path) -> None:
    said = forecast(model)
    assert said == "Indexing 79 items of 8 dimensions: about 0.4 GiB of memory."
    # A million of 128 dimensions took 2,346 MiB beside the vectors themselves.
    needed = index_settings.bytes_to_build(1_000_000, 128) / 2**20
    assert 2_346 < needed < 1.2 * 2_346


def test_refuses_to_replace_unless_told(model: Path) -> None:
    index_folder(model).mkdir()
    with pytest.raises(InputError, match="must not exist yet"):
        build_index(model)
    build_index(model, overwrite=True)
    assert load_index(index_folder(model))


def test_refuses_an_item_twice(model: Path) -> None:
    path = model / "assets" / "items.txt"
    path.write_text(path.read_text().replace("i2\n", "i1\n", 1))
    with pytest.raises(InputError, match="must name each item once"):
        build_index(model)
    assert not index_folder(model).exists()


def test_never_opens_a_pickle(model: Path) -> None:
    folder = build_index(model)
    assert {path.suffix for path in folder.rglob("*.*")} == {".npy", ".txt", ".json"}
    np.save(folder / "added.npy", np.asarray([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(InputError, match="must be an index as `tfcausal index` writes"):
        load_index(folder)


def test_refuses_files_that_do_not_fit(model: Path) -> None:
    folder = build_index(model)
    write_ids(folder / "items.txt", ["i1", "i2"])
    with pytest.raises(InputError, match="must have an id for each vector; got 2"):
        load_index(folder)
    (folder / "vectors.npy").unlink()
    with pytest.raises(InputError, match="Build it again"):
        load_index(folder)


def test_refuses_what_is_no_index(tmp_path: Path, model: Path) -> None:
    with pytest.raises(InputError, match="must hold a finished result of kind index"):
        load_index(tmp_path)
    with pytest.raises(InputError, match="must hold a finished result of kind export"):
        build_index(tmp_path)
    with pytest.raises(InputError, match="kind must be index"):
        load_index(model)


def test_options_are_in_the_manifest(model: Path) -> None:
    folder = build_index(model, floor=0.5, k=7, num_users=3)
    manifest = read_manifest(folder, kind="index")
    assert (manifest.options["floor"], manifest.options["k"]) == (0.5, 7)
    assert manifest.counts == {"items": 79, "changed": 0}
