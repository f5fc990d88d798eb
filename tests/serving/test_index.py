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
from tfcausal.serving import index as indexing
from tfcausal.serving.index import build_index, recall_at, save_searcher
from tfcausal.serving.item_index import (
    IndexSettings,
    ItemIndex,
    index_folder,
    load_index,
    open_index,
)
from tfcausal.stats.nearest import longest

pytest.importorskip("scann")
TREE = IndexSettings(num_leaves=40, leaves_to_search=4, reorder=60)


@pytest.fixture(scope="module")
def vectors() -> Float32s:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(40, 16)) * 2
    spread = rng.normal(size=(3000, 16)) * 0.4
    return (centres[rng.integers(0, 40, 3000)] + spread).astype(np.float32)


@pytest.fixture(scope="module", params=[IndexSettings(), TREE], ids=["flat", "tree"])
def index(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    vectors: Float32s,
) -> ItemIndex:
    folder = tmp_path_factory.mktemp("index")
    names = [f"i{row}" for row in range(len(vectors))]
    save_searcher(folder, vectors, names, request.param)
    return open_index(folder, request.param, longest(vectors))


@pytest.fixture
def model(tmp_path: Path, exported: Path) -> Path:
    return shutil.copytree(exported, tmp_path / "dice" / "1")


def queries(vectors: Float32s, count: int) -> Float32s:
    rng = np.random.default_rng(1)
    chosen = vectors[rng.integers(0, len(vectors), count)]
    return (chosen + rng.normal(size=chosen.shape) * 0.2).astype(np.float32)


def test_recall(index: ItemIndex, vectors: Float32s) -> None:
    assert recall_at(index, vectors, queries(vectors, 50), 20) >= 0.9


def test_ties_cost_no_recall(index: ItemIndex, vectors: Float32s) -> None:
    assert recall_at(index, vectors, np.zeros((1, 16), np.float32), 20) == 1.0


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


def test_settings_follow_the_size() -> None:
    assert IndexSettings.for_items(2_800).num_leaves == 0
    assert IndexSettings.for_items(200_000) == IndexSettings(447, 44, 300)
    assert IndexSettings.for_items(1_000_000) == IndexSettings(1000, 100, 1000)


def test_built_from_the_exported_model(tmp_path: Path, model: Path) -> None:
    folder = build_index(model)
    assert folder == model.parent / "1-scann"
    manifest = read_manifest(folder, kind="index")
    assert set(manifest.details["recall"]) == {
        "as trained",
        *(
            f"{cause}={weight}"
            for cause in ("interest", "conformity")
            for weight in "02"
        ),
    }
    assert manifest.inputs["export"] == read_manifest(model, kind="export").fingerprint
    moved = folder.rename(tmp_path / "moved")
    script = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from tfcausal.serving.item_index import load_index\n"
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


def test_a_recall_below_the_floor_keeps_nothing(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "recall_at", lambda *_: 0.5)
    with pytest.raises(
        InputError, match=r"recall@100 must be at least 0\.95; got 0\.5"
    ):
        build_index(model)
    assert [path.name for path in model.parent.iterdir()] == ["1"]


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
    (folder / "scann" / "scann_docids.pkl").write_bytes(b"cos\nsystem\n.")
    with pytest.raises(InputError, match=r"must hold no scann_docids\.pkl"):
        load_index(folder)


def test_refuses_what_is_no_index(tmp_path: Path, model: Path) -> None:
    with pytest.raises(InputError, match="must hold a finished index"):
        load_index(tmp_path)
    with pytest.raises(InputError, match="must hold a finished export"):
        build_index(tmp_path)
    with pytest.raises(InputError, match="kind must be index"):
        load_index(model)


def test_options_are_in_the_manifest(model: Path) -> None:
    folder = build_index(model, floor=0.5, k=7, num_users=3)
    manifest = read_manifest(folder, kind="index")
    assert (manifest.options["floor"], manifest.options["k"]) == (0.5, 7)
    assert manifest.counts == {"items": 79}
