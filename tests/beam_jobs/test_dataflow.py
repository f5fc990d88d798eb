"""Every job as Dataflow would get it: translated here, without Google's machines.

What is staged for Dataflow is caught on its way; the pipeline in it is Beam's own
message, which says what crosses a shuffle and what every worker holds.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.internal.gcp import auth
from apache_beam.metrics import monitoring_infos
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2 as beam_api
from apache_beam.runners.dataflow.internal import apiclient

from beam_jobs import ingest, popularity
from beam_jobs.runtime.pipeline import Submitted
from tests.beam_jobs.chain import (
    NUM_ITEMS,
    NUM_USERS,
    Step,
    copy_input,
    steps,
    write_input,
)
from tests.beam_jobs.raw import raw_rows
from tfcausal.errors import InputError
from tfcausal.schema.manifest import read_manifest

DATAFLOW = (
    "--runner=DataflowRunner",
    "--project=some-project",
    "--region=us-central1",
    "--job_name=job",
    "--temp_location=gs://some-bucket/temp",
    "--staging_location=gs://some-bucket/staging",
    "--no_auth",
)
NUM_ROWS = 8_000
MOST_ELEMENTS = 40
"""Pairs of shards, files, row groups, epochs are fewer, users, items and rows more."""
MOST_SIDE_BYTES = 9_000
"""Some 50 bytes for each distinct id; one column of the rows would weigh more."""


@pytest.fixture(scope="module")
def chain(bucket: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Step]:
    """Returns the jobs, which read and write the bucket."""
    source = write_input(tmp_path_factory.mktemp("source"), raw_rows(num_rows=NUM_ROWS))
    copy_input(source, bucket)
    return steps(bucket, bucket / "dataset", min_core=2)


def translated(
    job: Any, options: Any, tmp_path: Path, *flags: str
) -> beam_api.Pipeline:
    """Returns the pipeline that a job would have Dataflow run."""
    staged: dict[str, bytes] = {}

    def stage(_: Any, folder: str, name: str, content: Any, **__: Any) -> None:
        staged[name] = (
            content.read() if hasattr(content, "read") else Path(content).read_bytes()
        )

    template = f"--template_location={tmp_path / 'template.json'}"
    pipeline_options = PipelineOptions([*DATAFLOW, template])
    client = apiclient.DataflowApplicationClient
    with (
        mock.patch.object(auth._Credentials, "_get_service_credentials"),
        mock.patch.object(
            GoogleCloudOptions, "_warn_if_soft_delete_policy_enabled", create=True
        ),
        mock.patch.object(client, "stage_file_with_retry", stage),
        mock.patch.object(apiclient, "get_service_credentials"),
        pytest.raises(Submitted, match="handed to DataflowRunner"),
    ):
        job.run(options, pipeline_options)
    return beam_api.Pipeline.FromString(staged["pipeline.pb"])


def shuffled(pipeline: beam_api.Pipeline) -> dict[str, str]:
    """Returns what goes into each shuffle: its stage's name to its PCollection."""
    return {
        transform.unique_name: next(iter(transform.inputs.values()))
        for transform in pipeline.components.transforms.values()
        if transform.spec.urn == "beam:transform:group_by_key:v1"
    }


def side_inputs(pipeline: beam_api.Pipeline) -> dict[str, str]:
    """Returns what every worker holds: a stage and a tag to their PCollection."""
    found = {}
    for transform in pipeline.components.transforms.values():
        if transform.spec.urn == "beam:transform:pardo:v1":
            payload = beam_api.ParDoPayload.FromString(transform.spec.payload)
            for tag in payload.side_inputs:
                found[f"{transform.unique_name} {tag}"] = transform.inputs[tag]
    return found


def not_awaited(pipeline: beam_api.Pipeline) -> set[str]:
    """Returns the stages that may still run while the last stage writes a manifest."""
    stages = {
        transform.unique_name: transform
        for transform in pipeline.components.transforms.values()
        if not transform.subtransforms and transform.outputs != transform.inputs
    }
    maker = {
        collection: name
        for name, transform in stages.items()
        for collection in transform.outputs.values()
    }
    left = [name for name in stages if name.startswith("Finish/Finish")]
    awaited = set(left)
    while left:
        before = {maker[name] for name in stages[left.pop()].inputs.values()}
        left += before - awaited
        awaited |= before
    return stages.keys() - awaited


class Measured:
    """Counts and sizes of all PCollections of one pipeline, as it ran here."""

    def __init__(self, pipeline: beam_api.Pipeline, result: Any) -> None:
        self.pipeline = pipeline
        self.elements: dict[str, int] = {}
        self.mean_bytes: dict[str, float] = {}
        for info in result.monitoring_infos():
            name = info.labels.get("PCOLLECTION")
            if info.urn == monitoring_infos.ELEMENT_COUNT_URN:
                self.elements[name] = monitoring_infos.extract_counter_value(info)
            if info.urn == monitoring_infos.SAMPLED_BYTE_SIZE_URN:
                count, total, *_ = monitoring_infos.extract_distribution(info)
                self.mean_bytes[name] = total / max(1, count)


def measured(job: Any, options: Any) -> Measured:
    """Runs a job in this process."""
    kept: list[Measured] = []
    run = beam.Pipeline.run

    def run_and_keep(pipeline: beam.Pipeline, *arguments: Any, **named: Any) -> Any:
        message = pipeline.to_runner_api()
        result = run(pipeline, *arguments, **named)
        result.wait_until_finish()
        kept.append(Measured(message, result))
        return result

    with mock.patch.object(beam.Pipeline, "run", run_and_keep):
        job.run(options, PipelineOptions([]))
    (only,) = kept
    return only


@pytest.mark.parametrize("name", steps(Path("source"), Path("dataset")))
def test_what_crosses_and_what_workers_hold(
    chain: dict[str, Step], tmp_path: Path, name: str
) -> None:
    job, options, _ = chain[name]
    on_dataflow = translated(job, options, tmp_path)
    here = measured(job, options)
    assert not_awaited(on_dataflow) == set()
    # The same stages, so that what is measured here holds there.
    assert shuffled(on_dataflow).keys() == shuffled(here.pipeline).keys()
    assert side_inputs(on_dataflow).keys() == side_inputs(here.pipeline).keys()
    for stage, collection in shuffled(here.pipeline).items():
        # One report of each stage and shard comes to the last stage.
        if not stage.startswith("Finish/"):
            assert here.elements[collection] <= MOST_ELEMENTS, f"{stage}: no blocks"
    for stage, collection in side_inputs(here.pipeline).items():
        size = here.elements[collection] * here.mean_bytes[collection]
        assert 0 < size <= MOST_SIDE_BYTES, stage


def test_bounds_tell_blocks_from_rows(chain: dict[str, Step]) -> None:
    rows = read_manifest(chain["ingest"].target, kind="dataset").counts["interactions"]
    assert min(NUM_USERS, NUM_ITEMS) > MOST_ELEMENTS
    assert rows * np.dtype(np.int32).itemsize > MOST_SIDE_BYTES


def test_local_paths_are_refused(chain: dict[str, Step], tmp_path: Path) -> None:
    options = replace(chain["ingest"].options, output=tmp_path / "dataset")
    with pytest.raises(InputError, match="every path must be one that Dataflow's"):
        ingest.run(options, PipelineOptions(list(DATAFLOW)))


def test_two_pipelines_do_not_fit_into_a_template(
    chain: dict[str, Step], tmp_path: Path
) -> None:
    options = replace(
        chain["popularity"].options, slot_rule="equal_rows", overwrite=True
    )
    with pytest.raises(InputError, match="`slot_rule` must be equal_time"):
        translated(popularity, options, tmp_path)
