"""Everything that Beam sends to workers survives the way there."""

from pathlib import Path
from typing import Any

import pytest
from apache_beam.internal import cloudpickle_pickler as cloudpickle

from beam_jobs.runtime.report import MergeReports, Report
from beam_jobs.sources.feature_file import FeatureFile
from beam_jobs.sources.ranges import RangeRows
from beam_jobs.sources.units import ColumnNames, InputFile, SourceUnit
from beam_jobs.transforms import ingest, popularity, split, triplets
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
        triplets.DrawShard(TRIPLETS),
        MergeReports(),
    ],
    ids=lambda sent: type(sent).__name__,
)
def test_dofns_and_combine_fns(sent: Any) -> None:
    again = cloudpickle.loads(cloudpickle.dumps(sent))
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
    assert cloudpickle.loads(cloudpickle.dumps(sent)) == sent


def test_targets_keep_their_arrays() -> None:
    sent = Targets.of_ranks([1, 5])
    again = cloudpickle.loads(cloudpickle.dumps(sent))
    assert again.prefixes.dtype == sent.prefixes.dtype
    assert again.ranks.tolist() == [1, 5]


def test_reports_add_up_in_any_grouping() -> None:
    reports = [Report({"a": 1}), Report({"a": 2, "b": 1}), Report(failures=("x",))]
    merge = MergeReports()
    left = merge.merge_accumulators([merge.merge_accumulators(reports[:2]), reports[2]])
    right = merge.add_input(merge.merge_accumulators(reports[1:]), reports[0])
    assert left == right == Report({"a": 3, "b": 1}, {}, ("x",))
