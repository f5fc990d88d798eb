"""Everything that Beam sends to workers survives the way there."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.transforms.ptransform import PTransformWithSideInputs

from beam_jobs import popularity as popularity_job
from beam_jobs import split as split_job
from beam_jobs.popularity import PopularityOptions
from beam_jobs.runtime.report import MergeReports, Report
from beam_jobs.sources.feature_file import FeatureFile
from beam_jobs.sources.ranges import RangeRows
from beam_jobs.sources.units import ColumnNames, InputFile, SourceUnit
from beam_jobs.split import SplitOptions
from beam_jobs.transforms import ingest, popularity, split, triplets
from tests.beam_jobs.chain import run_chain, write_input
from tests.beam_jobs.sent import as_sent
from tfcausal.schema.dataset import DatasetFolder
from tfcausal.stats.cleaning import extras_of
from tfcausal.stats.negatives import Uniform
from tfcausal.stats.selection import Targets, Threshold
from tfcausal.stats.split_rows import PopularShares, RandomRows
from tfcausal.stats.split_rules import Deal

SPLIT = split.SplitPlan(
    dataset=DatasetFolder(Path("d")),
    num_shards=2,
    row_group_size=8,
    rule=PopularShares(RandomRows(1, Deal(("test",), (4,))), 80.0, (0.5,)),
    folder=Path("f"),
)
TRIPLETS = triplets.TripletPlan(
    dataset=DatasetFolder(Path("d")),
    parts=("train",),
    popularity=Path("p"),
    folder=Path("f"),
    seed=0,
    sampling=Uniform(2),
    record_format="blocks",
    block_rows=8,
)


@pytest.mark.parametrize(
    "sent",
    [
        ingest.ReadUnits(4, 3.0),
        ingest.MergeIdCounts(),
        ingest.JoinShards("keep", count_users=False),
        ingest.DropRare(2, 3, count_users=False),
        ingest.CutVocabularies(1, None, 4, "latest"),
        ingest.WriteFeatures(Path("f"), 8),
        popularity.CountItems(3),
        popularity.CountPositives(3, "like"),
        triplets.DrawShard(TRIPLETS),
        MergeReports(),
    ],
    ids=lambda sent: type(sent).__name__,
)
def test_dofns_and_combine_fns(sent: Any) -> None:
    again = as_sent(sent)
    assert type(again) is type(sent)
    assert again.__dict__ == sent.__dict__


@pytest.mark.parametrize(
    "sent",
    [
        SPLIT,
        TRIPLETS,
        Report({"rows": 1}, {"a": "b"}, ("wrong",)),
        Threshold(1, 2),
        SourceUnit(InputFile("/a", "a", 0), "text", ColumnNames("u", "i")),
        RangeRows(0, 7, 3, quoted=True),
        FeatureFile(InputFile("/a", "a", 0), "item_id", "video_id", ("genres",), "|"),
        ingest.clean_schema(
            rating=True, timestamp=True, carried=extras_of(["length?", "tab:int64"])
        ),
    ],
    ids=lambda sent: type(sent).__name__,
)
def test_what_crosses_a_shuffle(sent: Any) -> None:
    assert as_sent(sent) == sent


def subclasses(kind: type) -> Iterator[type]:
    for found in kind.__subclasses__():
        yield found
        yield from subclasses(found)


def state(value: Any) -> Any:
    """Returns what an object holds, of those that do not say when they are equal."""
    own = type(value).__module__.startswith("beam_jobs")
    if not own or dataclasses.is_dataclass(value):
        return value
    return {name: state(held) for name, held in vars(value).items()}


def test_all_that_the_jobs_send(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []
    build = PTransformWithSideInputs.__init__

    def noting(self: Any, fn: Any, *others: Any, **named: Any) -> None:
        sent.append(fn)
        build(self, fn, *others, **named)

    monkeypatch.setattr(PTransformWithSideInputs, "__init__", noting)
    source = write_input(tmp_path / "source")
    dataset = tmp_path / "dataset"
    run_chain(source, dataset, [], min_core=2, max_items=60)
    by_day = PopularityOptions(
        dataset, by_day=True, confounder="rating", overwrite=True
    )
    by_rows = PopularityOptions(dataset, slot_rule="equal_rows", overwrite=True)
    for other in (by_day, by_rows):
        popularity_job.run(other)
    split_job.run(SplitOptions(dataset, "popular_share", overwrite=True))
    own = [fn for fn in sent if type(fn).__module__.startswith("beam_jobs")]
    for fn in own:
        again = as_sent(fn)
        assert type(again) is type(fn)
        assert state(again) == state(fn)
    # None is left out but what counts a label, which this data set does not have.
    defined = {*subclasses(beam.DoFn), *subclasses(beam.CombineFn)}
    ours = {kind for kind in defined if kind.__module__.startswith("beam_jobs.")}
    bases = {kind for kind in ours if kind.__subclasses__()}
    missed = ours - bases - {type(fn) for fn in own}
    assert missed == {popularity.CountPositives}


def test_targets_keep_their_arrays() -> None:
    sent = Targets.of_ranks([1, 5])
    again = as_sent(sent)
    assert again.prefixes.dtype == sent.prefixes.dtype
    assert again.ranks.tolist() == [1, 5]


def test_reports_add_up_in_any_grouping() -> None:
    reports = [Report({"a": 1}), Report({"a": 2, "b": 1}), Report(failures=("x",))]
    merge = MergeReports()
    left = merge.merge_accumulators([merge.merge_accumulators(reports[:2]), reports[2]])
    right = merge.add_input(merge.merge_accumulators(reports[1:]), reports[0])
    assert left == right == Report({"a": 3, "b": 1}, {}, ("x",))
