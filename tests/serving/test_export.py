"""Export: what a fresh process gets, versions, and what is left where it fails."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from beam_jobs.popularity import PopularityOptions
from beam_jobs.popularity import run as count_popularity
from beam_jobs.split import SplitOptions
from beam_jobs.split import run as split
from tests.beam_jobs.raw import make_dataset
from tests.datasets import write_dataset
from tests.runs import random_vectors, write_run
from tests.serving.served_histories import train_small
from tfcausal.data.interactions import open_dataset, read_part
from tfcausal.errors import InputError
from tfcausal.schema.dataset import FOLD_IN_PARTS
from tfcausal.schema.exported import find_version, versions
from tfcausal.schema.manifest import checksums, read_manifest
from tfcausal.serving.check_saved_model import DifferenceError, check
from tfcausal.serving.export import export
from tfcausal.serving.live_answers import LiveAnswers
from tfcausal.serving.versions import next_version
from tfcausal.serving.warmup import WARMUP_FILE
from tfcausal.training.run import Run


def test_a_process_with_tensorflow_only_loads_it(
    tmp_path: Path, exported: Path
) -> None:
    # Elsewhere, and without what it was made from.
    moved = shutil.copytree(exported, tmp_path / "moved")
    script = tmp_path / "client.py"
    script.write_text(
        "import sys\n"
        "import tensorflow as tf\n"
        "signatures = tf.saved_model.load(sys.argv[1]).signatures\n"
        "print(sorted(signatures))\n"
        "found = signatures['serving_default'](user_id=tf.constant(['u1', 'u2']))\n"
        "print(found['item_id'].shape, found['score'].dtype.name)\n"
        "print(any(name.startswith('tfcausal') for name in sys.modules))\n"
    )
    shown = subprocess.run(
        [sys.executable, "-I", str(script), str(moved)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.splitlines() == [
        "['explain', 'item_embedding', 'recommend', 'recommend_examples', "
        "'serving_default', 'user_embedding']",
        "(2, 10) float32",
        "False",
    ]


@pytest.mark.parametrize("method", ["mf", "youtube_dnn"])
def test_who_was_not_learned_from_is_answered_as_unknown(
    tmp_path: Path, method: str
) -> None:
    dataset = write_dataset(tmp_path / "dataset", untrained=5)
    run = train_small(dataset, method, tmp_path / "run", 1)
    model = tf.saved_model.load(str(export(run, method, tmp_path / "models")))
    users = tf.constant(["u4", "u5", "nobody"])
    lists = model.signatures["serving_default"](user_id=users)["item_id"].numpy()
    assert lists[1].tolist() == lists[2].tolist() != lists[0].tolist()
    found = model.signatures["user_embedding"](user_id=users)
    assert found["known_user"].numpy().tolist() == [True, False, False]
    assert found["embedding"].numpy()[1].tolist() == run.vectors().queries[0].tolist()


@pytest.mark.parametrize("method", ["mf", "youtube_dnn"])
def test_who_is_held_out_is_known_by_a_history_alone(
    tmp_path: Path, method: str
) -> None:
    root = make_dataset(tmp_path)
    parts = {"validation_users": 9, "test_users": 9}
    split(SplitOptions(root, "held_out_users", **parts, overwrite=True))
    count_popularity(PopularityOptions(root, overwrite=True))
    dataset = open_dataset(root)
    run = train_small(dataset, method, tmp_path / "run", 1)
    model = tf.saved_model.load(str(export(run, method, tmp_path / "models")))
    folded_in = read_part(dataset.folder, list(FOLD_IN_PARTS.values())).users
    users = pq.read_table(dataset.folder.users)["user_id"].to_pylist()
    found = model.signatures["user_embedding"](user_id=tf.constant(users))
    expected = np.arange(len(users)) > 0
    if method == "mf":
        expected[folded_in] = False
        assert np.count_nonzero(~expected) == 1 + 18
    assert found["known_user"].numpy().tolist() == expected.tolist()


def test_vocabularies_are_files_not_graph(exported: Path) -> None:
    lines = (exported / "assets" / "items.txt").read_text().splitlines()
    assert lines[:2] == ["i1", "i2"]
    assert b"i79" not in (exported / "saved_model.pb").read_bytes()


def test_manifest_says_where_it_comes_from(exported: Path, run: Run) -> None:
    manifest = read_manifest(exported, kind="export")
    assert manifest.inputs["run"] == run.manifest.fingerprint
    assert manifest.details["causes"] == {"interest": [0, 5], "conformity": [5, 8]}
    assert manifest.files == checksums(exported)


def test_warmup_requests_replay(exported: Path) -> None:
    logs = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    signatures = tf.saved_model.load(str(exported)).signatures
    seen = set()
    for record in tf.data.TFRecordDataset(str(exported / WARMUP_FILE)):
        log = logs.PredictionLog.FromString(record.numpy())
        asked = log.predict_log.request
        name = asked.model_spec.signature_name
        inputs = {
            key: tf.constant(tf.make_ndarray(value))
            for key, value in asked.inputs.items()
        }
        signatures[name](**inputs)
        seen.add((asked.model_spec.name, name))
    assert seen == {("dice", name) for name in signatures}


def test_versions_are_numbers(tmp_path: Path) -> None:
    assert next_version(tmp_path / "none") == 1
    for name in ("2", "10", "3-scann", ".11.partial", "x", "012"):
        (tmp_path / name).mkdir()
    (tmp_path / "20").touch()
    assert versions(tmp_path) == [2, 10]
    assert next_version(tmp_path) == 11


def test_a_failed_verification_leaves_nothing(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_cases = LiveAnswers.cases

    def wrong_cases(*arguments: Any, **options: Any) -> Any:
        cases = true_cases(*arguments, **options)
        cases[0]["expected"]["score"][0][0] += 1.0
        return cases

    monkeypatch.setattr(LiveAnswers, "cases", wrong_cases)
    with pytest.raises(RuntimeError, match="serving_default: score of list 0"):
        export(run, "dice", tmp_path)
    assert list((tmp_path / "dice").iterdir()) == []


def test_killed_half_way_it_leaves_the_versions_before(
    tmp_path: Path, run: Run, exported: Path
) -> None:
    before = shutil.copytree(exported, tmp_path / "dice" / "1")
    script = (
        "import os, sys; from pathlib import Path\n"
        "from tfcausal.serving import export\n"
        "from tfcausal.training.run import load_run\n"
        "export.verify = lambda *_: os.kill(os.getpid(), 9)\n"
        "export.export(load_run(Path(sys.argv[1])), 'dice', Path(sys.argv[2]))\n"
    )
    root = Path(__file__).parents[2]
    killed = subprocess.run(
        [sys.executable, "-c", script, str(run.folder), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (tmp_path / "dice" / ".2.partial" / "saved_model.pb").is_file()
    assert versions(tmp_path / "dice") == [1]
    assert next_version(tmp_path / "dice") == 2
    assert find_version(tmp_path / "dice") == before
    assert checksums(before) == read_manifest(before, kind="export").files


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a b", "ä", "dice-scann"])
def test_refuses_names_of_no_folder(tmp_path: Path, run: Run, name: str) -> None:
    with pytest.raises(InputError, match="`name` must"):
        export(run, name, tmp_path)


def test_refuses_a_list_without_places(tmp_path: Path, run: Run) -> None:
    with pytest.raises(InputError, match="`k` must be at least 1"):
        export(run, "dice", tmp_path, k=0)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["", "a\nb"], "of one line each"),
        (["", "a\rb"], "of one line each"),
        (["", ""], "of one line each"),
        (["", "a", "a"], "must name each once"),
        ([""], "must name at least one"),
        (["", "a", "b", "c"], "must have a row for each"),
    ],
)
def test_refuses_ids_that_are_no_lines(
    tmp_path: Path, ids: list[str], message: str
) -> None:
    dataset = write_dataset(tmp_path / "dataset", num_users=8, num_items=40)
    vectors = random_vectors(8, min(len(ids), 3))
    run = write_run(tmp_path / "run", dataset, vectors)
    path = dataset.folder.items
    schema = pq.read_schema(path)
    pq.write_table(pa.table([ids, [0] * len(ids)], schema=schema), path)
    with pytest.raises(InputError, match=message):
        export(run, "dice", tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_refuses_a_run_of_another_split(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "dataset", num_users=8, num_items=40)
    run = write_run(tmp_path / "run", dataset, random_vectors(8, 40))
    path = dataset.folder.splits / "manifest.json"
    content = json.loads(path.read_text()) | {"options": {"seed": 1}}
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"inputs\.splits must be"):
        export(run, "dice", tmp_path / "models")


class Answer:
    """Stands for a model whose one signature always answers the same."""

    def __init__(self, **outputs: Any) -> None:
        self.outputs = {key: np.asarray(value) for key, value in outputs.items()}
        spec = {"user_id": tf.TensorSpec([None], tf.string)}
        self.structured_input_signature = ((), spec)
        self.signatures = {"top": self}

    def __call__(self, user_id: tf.Tensor) -> dict[str, Any]:
        return {
            key: SimpleNamespace(numpy=lambda v=value: v)
            for key, value in self.outputs.items()
        }


def compare(**changed: Any) -> None:
    stored = {"item_id": [["a", "b", "c"]], "score": [[3.0, 2.0, 2.0]], "count": [2]}
    answer = {"item_id": [[b"a", b"b"]], "score": [[3.0, 2.0]], "count": [2]}
    case = {"signature": "top", "inputs": {"user_id": ["u"]}, "expected": stored}
    check(Answer(**(answer | changed)), case)


def test_equal_scores_may_change_places() -> None:
    compare()
    compare(item_id=[[b"a", b"c"]])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"item_id": [[b"b", b"a"]]}, "score of `b`"),
        ({"item_id": [[b"a", b"a"]]}, "holds an item twice"),
        ({"item_id": [[b"a", b""]]}, "place 1 of list 0"),
        ({"item_id": [[b"z", b"b"]]}, "`z` is 3.0"),
        ({"score": [[3.0, np.nan]]}, "score of list 0"),
        ({"count": [1]}, "count"),
        ({"more": [1]}, "returns"),
    ],
)
def test_the_check_finds(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(DifferenceError, match=message):
        compare(**changed)
