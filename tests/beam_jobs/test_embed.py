"""The vectors of a catalogue are those of the exported model, on every runner."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.embed import JOB, EmbedOptions, run
from beam_jobs.transforms.embed import EmbedBlocks, id_blocks
from tests.exports import NUM_ITEMS, NUM_USERS, UNTRAINED, exported_model
from tfcausal.errors import InputError
from tfcausal.schema import columns
from tfcausal.schema.exported import VectorsFolder, ids_file
from tfcausal.schema.manifest import checksums, read_manifest
from tfcausal.serving.export import read_back

WITHOUT_BEAM = PipelineOptions(["--runner=local"])


@pytest.fixture(scope="module")
def model() -> Path:
    return exported_model()


@pytest.fixture(scope="module")
def vectors(model: Path, tmp_path_factory: pytest.TempPathFactory) -> VectorsFolder:
    """Returns what the job writes, in blocks of 32."""
    folder = tmp_path_factory.mktemp("embed") / "vectors"
    run(EmbedOptions(model, folder, block_rows=32), WITHOUT_BEAM)
    return VectorsFolder(folder)


def read(folder: Path) -> pa.Table:
    return pa.concat_tables(pq.read_table(path) for path in sorted(folder.iterdir()))


def test_items_are_those_of_the_model(model: Path, vectors: VectorsFolder) -> None:
    expected, _, popularity = read_back(model)
    items = read(vectors.items)
    assert items.schema.equals(columns.item_vectors_schema(expected.dim))
    assert items["item"].to_pylist() == list(range(1, NUM_ITEMS))
    assert items["item_id"].to_pylist() == [f"i{row}" for row in range(1, NUM_ITEMS)]
    assert items["popularity"].to_pylist() == popularity[1:].tolist()
    found = np.asarray(items["embedding"].to_pylist(), np.float32)
    np.testing.assert_array_equal(found, expected.candidates[1:])


def test_users_are_those_of_the_model(model: Path, vectors: VectorsFolder) -> None:
    expected, seen, _ = read_back(model)
    users = read(vectors.users)
    assert users.schema.equals(columns.user_vectors_schema(expected.dim, 2))
    assert users["user"].to_pylist() == list(range(1, NUM_USERS))
    assert users["user_id"].to_pylist() == [f"u{row}" for row in range(1, NUM_USERS)]
    known = np.asarray(users["known_user"])
    assert (~known).nonzero()[0].tolist() == [UNTRAINED - 1]
    found = np.asarray(users["embedding"].to_pylist(), np.float32)
    np.testing.assert_array_equal(found[known], expected.queries[1:][known])
    assert users["seen"].to_pylist() == [
        seen.items[seen.offsets[user] : seen.offsets[user + 1]].tolist()
        for user in range(1, NUM_USERS)
    ]


def test_files_are_blocks(vectors: VectorsFolder) -> None:
    for folder, count in ((vectors.users, NUM_USERS), (vectors.items, NUM_ITEMS)):
        files = sorted(folder.iterdir())
        rows = [pq.read_metadata(path).num_rows for path in files]
        assert rows == [32] * ((count - 1) // 32) + [(count - 1) % 32]


def test_the_manifest(model: Path, vectors: VectorsFolder) -> None:
    manifest = read_manifest(vectors.root, kind="vectors")
    assert dict(manifest.counts) == {
        "users": NUM_USERS - 1,
        "items": NUM_ITEMS - 1,
        "known_users": NUM_USERS - 2,
    }
    export = read_manifest(model, kind="export")
    assert manifest.inputs == {"export": export.fingerprint}
    assert manifest.options == {"block_rows": 32}
    causes = {"interest": [0, 5], "conformity": [5, 8]}
    assert manifest.details == {
        "causes": causes,
        "presets": read_manifest(model, kind="export").details["presets"],
        "dim": 8,
        "queries": 2,
    }
    assert manifest.files == checksums(vectors.root)


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
    model: Path, vectors: VectorsFolder, tmp_path: Path, flags: list[str]
) -> None:
    found = run(
        EmbedOptions(model, tmp_path / "vectors", block_rows=32), PipelineOptions(flags)
    )
    assert found == read_manifest(vectors.root, kind="vectors")
    assert checksums(tmp_path / "vectors") == checksums(vectors.root)


def test_other_blocks_hold_the_same_rows(
    model: Path, vectors: VectorsFolder, tmp_path: Path
) -> None:
    for block_rows in (20, 79):
        options = EmbedOptions(model, tmp_path / "other", block_rows, overwrite=True)
        run(options, WITHOUT_BEAM)
        other = VectorsFolder(tmp_path / "other")
        assert read(other.users).equals(read(vectors.users))
        assert read(other.items).equals(read(vectors.items))


def test_blocks_cut_at_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = ["a", "übung", "c\u2028d", "e\x0b", *(f"i{row}" for row in range(20))]
    path = ids_file(tmp_path, "items")
    path.parent.mkdir()
    path.write_bytes("".join(f"{one}\n" for one in ids).encode())
    for read_bytes in (1, 7, 1 << 20):
        monkeypatch.setattr("beam_jobs.transforms.embed._READ_BYTES", read_bytes)
        for block_rows in (1, 5, 8, 24, 30):
            blocks = id_blocks(tmp_path, "items", 24, block_rows)
            cut = [path.read_bytes()[b.begin : b.end].decode() for b in blocks]
            assert "".join(cut) == path.read_bytes().decode()
            assert [text.count("\n") for text in cut[:-1]] == [block_rows] * (
                len(blocks) - 1
            )
            assert [b.first for b in blocks] == list(range(1, 25, block_rows))


def test_a_batch_is_a_block(model: Path) -> None:
    handler = EmbedBlocks(model)
    assert handler.batch_elements_kwargs()["max_batch_size"] == 1
    (block,) = id_blocks(model, "items", NUM_ITEMS - 1, 100)
    ((same, table),) = handler.run_inference([block], handler.load_model())
    assert same == block
    assert len(table) == NUM_ITEMS - 1


def test_command(model: Path, tmp_path: Path, capsys: Any) -> None:
    # The model's folder stands for its last version.
    flags = [f"--model={model.parent}", f"--output={tmp_path / 'v'}", "--runner=local"]
    assert JOB.main([*flags, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["kind"] == "vectors"
    assert printed["options"] == {"block_rows": 32_768}
    assert JOB.main(flags) == 2
    assert "must not exist yet" in capsys.readouterr().err
    assert JOB.main([*flags, "--overwrite"]) == 0


def test_refusals(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`block_rows` must be at least 1"):
        EmbedOptions(model, tmp_path / "v", block_rows=0)
    with pytest.raises(InputError, match="must be an exported model"):
        run(EmbedOptions(tmp_path, tmp_path / "v"))
    copied = shutil.copytree(model, tmp_path / "model")
    with ids_file(copied, "users").open("a") as stream:
        stream.write("one more\n")
    with pytest.raises(
        InputError, match="must have the 119 ids that the model was exp"
    ):
        run(EmbedOptions(copied, tmp_path / "v"), WITHOUT_BEAM)
    assert not (tmp_path / "v").exists()
