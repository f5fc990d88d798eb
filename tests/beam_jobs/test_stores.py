"""The jobs on an object store."""

from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs import ingest, split
from tests.beam_jobs.chain import copy_input, run_chain, write_input
from tfcausal.errors import InputError
from tfcausal.schema.manifest import FILE_NAME, checksums, read_manifest

LOCAL = PipelineOptions(["--runner=local"])


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory, bucket: Path) -> Path:
    """Returns a local folder of raw files, which the bucket holds too."""
    source = write_input(tmp_path_factory.mktemp("source"))
    copy_input(source, bucket)
    return source / "raw"


def hidden(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(".")]


@pytest.mark.parametrize(
    "flags", [pytest.param([], marks=pytest.mark.slow), ["--runner=local"]]
)
def test_same_bytes_as_on_a_disk(
    raw: Path, bucket: Path, tmp_path: Path, flags: list[str]
) -> None:
    on_disk = run_chain(raw.parent, tmp_path / "dataset", flags)
    dataset = bucket / f"dataset{len(flags)}"
    assert run_chain(bucket, dataset, flags) == on_disk
    assert hidden(dataset) == []


def test_a_glob_reads_what_a_folder_does(raw: Path, bucket: Path) -> None:
    inputs = ("raw", "raw/*.csv", "r*/?.csv")
    found = [
        ingest.run(
            ingest.IngestOptions(f"{bucket}/{pattern}", "csv", bucket / f"glob{place}"),
            LOCAL,
        )
        for place, pattern in enumerate(inputs)
    ]
    assert len({manifest.fingerprint for manifest in found}) == 1
    with pytest.raises(InputError, match="found none at"):
        ingest.run(
            ingest.IngestOptions(f"{bucket}/raw/*.tsv", "csv", bucket / "none"), LOCAL
        )


def test_what_a_run_left_goes_and_what_is_not_ours_stays(
    raw: Path, bucket: Path
) -> None:
    dataset = bucket / "left"
    options = ingest.IngestOptions(str(raw), "csv", dataset)
    bad = ingest.IngestOptions(str(raw), "csv", dataset, min_rating=9.0)
    with pytest.raises(InputError, match="all 2,000 were dropped"):
        ingest.run(bad, LOCAL)
    # It is no data set, and is not in the way of the next run.
    assert hidden(dataset)
    with pytest.raises(InputError, match="must hold a finished result of kind dataset"):
        split.run(split.SplitOptions(dataset, "random"), LOCAL)
    first = ingest.run(options, LOCAL)
    assert checksums(dataset) == first.files
    with pytest.raises(InputError, match="must not exist yet"):
        ingest.run(options, LOCAL)
    again = ingest.IngestOptions(str(raw), "csv", dataset, overwrite=True)
    assert ingest.run(again, LOCAL) == first == read_manifest(dataset, kind="dataset")

    (dataset / FILE_NAME).unlink()
    with pytest.raises(InputError, match="it holds other files"):
        ingest.run(again, LOCAL)
    assert checksums(dataset) == first.files
