"""Lists in bulk are those of the exported model, and the same bytes on every runner."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.embed import EmbedOptions
from beam_jobs.embed import run as embed
from beam_jobs.recommend import JOB, RecommendOptions, run
from tests.exports import NUM_ITEMS, NUM_USERS, UNTRAINED, exported_model
from tfcausal.errors import InputError
from tfcausal.schema import columns
from tfcausal.schema.manifest import Manifest, checksums, read_manifest
from tfcausal.serving.export import read_back

WITHOUT_BEAM = PipelineOptions(["--runner=local"])
CAUSES = ("interest", "conformity")
USERS = [f"u{row}" for row in range(1, NUM_USERS)]


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the vectors of the exported model, in files of 32."""
    folder = tmp_path_factory.mktemp("recommend") / "vectors"
    embed(EmbedOptions(exported_model(), folder, block_rows=32), WITHOUT_BEAM)
    return folder


@pytest.fixture(scope="module")
def model() -> Any:
    return tf.saved_model.load(str(exported_model()))


def read(folder: Path) -> pa.Table:
    return pa.concat_tables(
        pq.read_table(path) for path in sorted(folder.glob("*.pa*"))
    )


def recommended(vectors: Path, target: Path, **options: Any) -> pa.Table:
    run(RecommendOptions(vectors, target, **options), WITHOUT_BEAM)
    return read(target)


def asked(
    model: Any,
    users: list[str],
    k: int,
    weights: dict[str, float],
    exclude_seen: bool,
    do: str = "",
) -> dict[str, Any]:
    """Asks the exported model's own signature."""
    answer = model.signatures["recommend"](
        user_id=tf.constant(users),
        k=tf.constant(k),
        do=tf.fill([len(users)], do),
        exclude_item_id=tf.fill([len(users), 1], ""),
        allow_item_id=tf.fill([len(users), 1], ""),
        exclude_seen=tf.constant(exclude_seen),
        **{
            f"{cause}_weight": tf.fill([len(users)], weights.get(cause, 1.0))
            for cause in CAUSES
        },
    )
    return {name: value.numpy() for name, value in answer.items()}


def assert_as_signature(table: pa.Table, answer: dict[str, Any]) -> None:
    assert table["known_user"].to_pylist() == answer["known_user"].tolist()
    for row, listed in enumerate(table.to_pylist()):
        count = answer["count"][row]
        assert len(listed["item_id"]) == count
        for name in ("score", *(f"score_{cause}" for cause in CAUSES)):
            scale = np.abs(answer["score"][row]).max(initial=1e-30)
            found = np.asarray(listed[name])
            wanted = answer[name][row, :count]
            np.testing.assert_allclose(found, wanted, atol=1e-5 * scale, rtol=1e-5)
        scores = answer["score"][row, :count]
        served = [item.decode() for item in answer["item_id"][row, :count]]
        apart = 1e-5 * np.abs(scores).max(initial=0.0)
        # Nearer than rounding, either order is right; the last may have been cut.
        gaps = np.abs(np.diff(scores, prepend=np.inf, append=-np.inf)) > apart
        for place in range(count - 1):
            if gaps[place] and gaps[place + 1]:
                assert listed["item_id"][place] == served[place]


@pytest.mark.parametrize(
    ("k", "weight", "include_seen"),
    [
        (10, None, False),
        (10, ("conformity=0",), False),
        (7, ("interest=-1", "conformity=2.5"), True),
        (500, None, False),
        (3, ("interest=1e30",), False),
    ],
)
def test_as_the_signature(
    vectors: Path,
    model: Any,
    tmp_path: Path,
    k: int,
    weight: tuple[str, ...] | None,
    include_seen: bool,
) -> None:
    table = recommended(
        vectors, tmp_path / "r", k=k, weight=weight, include_seen=include_seen
    )
    assert table["user_id"].to_pylist() == USERS
    options = RecommendOptions(vectors, tmp_path, weight=weight)
    answer = asked(model, USERS, k, options.weights(), not include_seen)
    assert answer["known_user"].sum() == NUM_USERS - 2
    assert_as_signature(table, answer)


def test_a_preset_is_that_of_the_signature(
    vectors: Path, model: Any, tmp_path: Path
) -> None:
    presets = read_manifest(vectors, kind="vectors").details["presets"]
    lists = set()
    for number, do in enumerate(presets):
        target = tmp_path / f"{number}"
        table = recommended(vectors, target, do=do, weight=("conformity=-2",))
        answer = asked(model, USERS, 10, {"conformity": -2.0}, True, do)
        assert_as_signature(table, answer)
        manifest = read_manifest(target, kind="recommendations")
        assert manifest.options["do"] == do
        assert manifest.details["weights"] == {
            "interest": presets[do]["interest"],
            "conformity": -2 * presets[do]["conformity"],
        }
        lists.add(str(table["item_id"]))
    assert len(lists) == len(presets) > 1


def test_seen_items_are_masked(vectors: Path, tmp_path: Path) -> None:
    _, seen, _ = read_back(exported_model())
    table = recommended(vectors, tmp_path / "r", k=500)
    for user, listed in enumerate(table["item_id"].to_pylist(), 1):
        met = seen.items[seen.offsets[user] : seen.offsets[user + 1]]
        items = {int(item[1:]) for item in listed}
        assert len(listed) == len(items)
        assert items == set(range(1, NUM_ITEMS)) - set(met.tolist())
    everything = recommended(vectors, tmp_path / "all", k=500, include_seen=True)
    assert {len(one) for one in everything["item_id"].to_pylist()} == {NUM_ITEMS - 1}


def test_schema_and_order(vectors: Path, tmp_path: Path) -> None:
    table = recommended(vectors, tmp_path / "r")
    assert table.schema.equals(columns.recommendations_schema(CAUSES))
    for row in table.to_pylist():
        assert row["score"] == sorted(row["score"], reverse=True)
        if row["known_user"]:
            sums = np.sum([row[f"score_{cause}"] for cause in CAUSES], axis=0)
            np.testing.assert_allclose(sums, row["score"], rtol=1e-5, atol=1e-5)


def test_the_manifest(vectors: Path, tmp_path: Path) -> None:
    options = RecommendOptions(vectors, tmp_path / "r", weight=("conformity=0",))
    manifest = run(options, WITHOUT_BEAM)
    assert manifest.kind == "recommendations"
    assert manifest.options == {
        "k": 10,
        "weight": {"conformity": 0.0},
        "do": None,
        "include_seen": False,
    }
    fingerprint = read_manifest(vectors, kind="vectors").fingerprint
    assert manifest.inputs == {"vectors": fingerprint}
    assert dict(manifest.counts) == {
        "users": NUM_USERS - 1,
        "unknown_users": 1,
        "recommended": 10 * (NUM_USERS - 1),
    }
    assert manifest.files == checksums(tmp_path / "r")


def everything(folder: Path, manifest: Manifest) -> dict[str, str]:
    return checksums(folder) | {"manifest": manifest.to_json()}


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--direct_running_mode=multi_threading", "--direct_num_workers=2"],
        pytest.param(
            ["--direct_running_mode=multi_processing", "--direct_num_workers=2"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_same_bytes_on_every_runner(
    vectors: Path, tmp_path: Path, flags: list[str]
) -> None:
    asked_for = tmp_path / "users.txt"
    asked_for.write_text("u3\nnobody\nu70\n")
    for number, given in enumerate(({}, {"users": asked_for})):
        found = []
        for name, runner in (("here", ["--runner=local"]), ("there", flags)):
            target = tmp_path / f"{name}{number}"
            options = RecommendOptions(vectors, target, weight=("interest=2",), **given)
            found.append(everything(target, run(options, PipelineOptions(runner))))
        assert found[0] == found[1]


def test_the_same_bytes_however_items_are_cut(vectors: Path, tmp_path: Path) -> None:
    found = []
    for items_per_shard in (1, 32, 64, 96, 10_000):
        target = tmp_path / str(items_per_shard)
        options = RecommendOptions(vectors, target, items_per_shard=items_per_shard)
        found.append(everything(target, run(options, WITHOUT_BEAM)))
    assert found.count(found[0]) == 5


def test_other_blocks_give_the_same_lists(vectors: Path, tmp_path: Path) -> None:
    other = tmp_path / "vectors"
    embed(EmbedOptions(exported_model(), other, block_rows=50), WITHOUT_BEAM)
    assert recommended(other, tmp_path / "a").equals(
        recommended(vectors, tmp_path / "b")
    )


def test_users_of_a_file(vectors: Path, model: Any, tmp_path: Path) -> None:
    path = tmp_path / "users.txt"
    path.write_bytes(f"u90\r\nnobody\n\nu2\nu{UNTRAINED}\nüser\nu2\n".encode())
    table = recommended(vectors, tmp_path / "r", users=path, k=4)
    # In the order of the vocabulary, then those who are in none, as in the file.
    users = ["u2", f"u{UNTRAINED}", "u90", "nobody", "üser"]
    assert table["user_id"].to_pylist() == users
    assert table["known_user"].to_pylist() == [True, False, True, False, False]
    assert_as_signature(table, asked(model, users, 4, {}, True))
    manifest = read_manifest(tmp_path / "r", kind="recommendations")
    assert dict(manifest.counts) == {
        "users": 5,
        "unknown_users": 3,
        "recommended": 20,
    }
    # What tells the users apart is who they are.
    path.write_text(f"u90\nnobody\nu2\nu{UNTRAINED}\nüser\n")
    again = RecommendOptions(vectors, tmp_path / "r2", users=path, k=4)
    assert run(again, WITHOUT_BEAM) == manifest
    path.write_text("u90\n")
    again = RecommendOptions(vectors, tmp_path / "r3", users=path, k=4)
    assert run(again, WITHOUT_BEAM).inputs["users"] != manifest.inputs["users"]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("scann")
    from tfcausal.serving.index import build_index

    root = tmp_path_factory.mktemp("indexed") / "dice" / "1"
    return build_index(shutil.copytree(exported_model(), root))


@pytest.mark.parametrize("include_seen", [False, True])
def test_through_an_index(
    vectors: Path, index: Path, tmp_path: Path, include_seen: bool
) -> None:
    # So small an index compares with every item, so that the lists must be the same.
    options: dict[str, Any] = {
        "k": 20,
        "weight": ("conformity=-0.5",),
        "include_seen": include_seen,
    }
    found = recommended(vectors, tmp_path / "index", index=index, **options)
    assert found.equals(recommended(vectors, tmp_path / "exact", **options))
    manifest = read_manifest(tmp_path / "index", kind="recommendations")
    assert manifest.inputs["index"] == read_manifest(index, kind="index").fingerprint


def test_leaves_that_hold_too_few(vectors: Path, tmp_path: Path) -> None:
    pytest.importorskip("scann")
    from tfcausal.serving.index import build_index
    from tfcausal.serving.item_index import IndexSettings

    root = shutil.copytree(exported_model(), tmp_path / "dice" / "1")
    tree = IndexSettings(num_leaves=16, leaves_to_search=1, reorder=20)
    index = build_index(root, floor=0.0, settings=tree)
    found = recommended(vectors, tmp_path / "index", index=index, k=60)
    exact = recommended(vectors, tmp_path / "exact", k=60)
    for one, other in zip(found.to_pylist(), exact.to_pylist(), strict=True):
        assert len(one["item_id"]) == len(other["item_id"])
    # With every leaf searched and scored, nothing is approximate.
    assert found.equals(exact)


def test_refuses_the_index_of_another_export(
    vectors: Path, index: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(index, tmp_path / "2-scann")
    path = other / "manifest.json"
    content = json.loads(path.read_text())
    content["inputs"]["export"] = "0" * 64
    path.write_text(json.dumps(content))
    options = RecommendOptions(vectors, tmp_path / "r", index=other)
    with pytest.raises(InputError, match="`index` must be of the export that"):
        run(options, WITHOUT_BEAM)


def test_command(vectors: Path, tmp_path: Path, capsys: Any) -> None:
    flags = [f"--vectors={vectors}", f"--output={tmp_path / 'r'}", "--runner=local"]
    weights = ["--weight", "conformity=0", "--weight", "interest=2"]
    assert JOB.main([*flags, *weights, "--k=3", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["options"]["weight"] == {"conformity": 0.0, "interest": 2.0}
    assert JOB.main([*flags, "--weight=conformity=0,interest=2", "--k=3"]) == 2
    assert "must not exist yet" in capsys.readouterr().err
    assert JOB.main([*flags, "--weight=conformty=0", "--overwrite"]) == 2
    assert "Did you mean `conformity`?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "`k` must be at least 1"),
        ({"items_per_shard": 0}, "`items_per_shard` must be at least 1"),
        ({"weight": ("interest",)}, "`weight` must be CAUSE=NUMBER"),
        ({"weight": ("interest=inf",)}, "with a finite number; got interest=inf"),
        ({"weight": ("interest=1", "interest=2")}, "must name `interest` once"),
        ({"do": "as_traned"}, "Did you mean `as_trained`?"),
        ({"weight": ("interest=1e38",)}, "Scores must stay finite"),
        ({"weight": ("interest=1e300",)}, "must be finite in float32; got 1e.300"),
    ],
)
def test_refusals(
    vectors: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run(RecommendOptions(vectors, tmp_path / "r", **options), WITHOUT_BEAM)
    assert not (tmp_path / "r").exists()


def test_refuses_what_is_not_there(vectors: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must hold a finished result of kind vectors"):
        run(RecommendOptions(tmp_path, tmp_path / "r"))
    (tmp_path / "empty.txt").write_text("\n\n")
    options = RecommendOptions(vectors, tmp_path / "r", users=tmp_path / "empty.txt")
    with pytest.raises(InputError, match="must name at least one user"):
        run(options)
    fewer = shutil.copytree(vectors, tmp_path / "fewer")
    path = fewer / "users" / "part-00001.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(InputError, match="so that 119 get lists; got 118"):
        run(RecommendOptions(fewer, tmp_path / "r"), WITHOUT_BEAM)
