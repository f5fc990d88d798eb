"""A data set into training, validation and test parts.

Each rule is one by which a paper evaluates: rows drawn at random, or as if every item
had the same exposure; the latest rows; the last rows of each user; users of whom
nothing is trained on; test sets with given shares of popular items.
"""

import sys
from argparse import ArgumentParser
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.runtime.command import Job
from beam_jobs.runtime.dataset_input import IngestedDataset, open_ingested, time_bounds
from beam_jobs.runtime.flags import JobFlags, add_flags
from beam_jobs.runtime.pipeline import promised_options, run_pipeline, seal
from beam_jobs.runtime.report import Report
from beam_jobs.transforms.split import LEFT_OUT, Split, SplitPlan
from tfcausal.errors import InputError, unknown_name
from tfcausal.schema import columns
from tfcausal.schema.dataset import TEST, VALIDATION, popular_test_part, shard_name
from tfcausal.schema.folders import staged_folder
from tfcausal.schema.manifest import Manifest, read_manifest
from tfcausal.stats.split_rows import (
    POOL_PARTS,
    RANDOM_PARTS,
    IntervenedRows,
    MarkedRows,
    PopularShares,
    RandomRows,
)
from tfcausal.stats.split_rules import Deal, Rule
from tfcausal.stats.split_times import LeaveLast, TimeLimits, TimeShares
from tfcausal.stats.split_users import HeldOutUsers
from tfcausal.stats.splitting import part_ends, require_shares

_OF_INTERVENED = (
    "cap_percentile",
    "pool_fraction",
    "intervened_shares",
    "intervened_training_fraction",
)
_OF_USERS = (
    "user_fractions",
    "validation_users",
    "test_users",
    "fold_in",
    "only_items_of_train",
)
_PLAY_A_PART = {
    "random": ("seed", "fractions"),
    "intervened": ("seed", *_OF_INTERVENED),
    "marked": ("seed", "marked_column", "intervened_shares"),
    "temporal": ("seed", "fractions", "validation_from", "test_from"),
    "leave_last": ("last_validation", "last_test"),
    "held_out_users": ("seed", *_OF_USERS),
    "held_out_sequences": ("seed", *_OF_USERS),
    "popular_share": ("seed", "fractions", "popular_percentile", "popular_shares"),
}
"""By rule, the options that play a part."""
RULES = tuple(_PLAY_A_PART)


@dataclass(frozen=True)
class SplitOptions:
    """Options of split; under a rule that is not named, an option plays no part.

    Attributes:
        dataset: The folder that beam_jobs.ingest wrote.
        rule: random (shares of all rows), intervened (validation and test as if all
            items were exposed alike), marked (validation and test of rows that the
            log marks as shown at random), temporal (the latest rows), leave_last (the
            last rows of each user), held_out_users (users, with a random part of their
            rows folded in), held_out_sequences (users, with their earliest rows folded
            in) or popular_share (random, and test sets by their share of popular
            items).
        seed: all rules but leave_last: seed of all draws.
        cap_percentile: intervened: weights are capped at this percentile of the
            distinct inverse popularities.
        pool_fraction: intervened: share of all rows in the pool.
        intervened_shares: intervened, marked: shares of the pool, or of the marked
            rows, that become train_intervened, validation and test.
        intervened_training_fraction: intervened: share of all rows in
            train_intervened, while validation and test stay the same rows; none for
            what intervened_shares gives.
        marked_column: marked: the column of integers that is not 0 in the marked rows,
            such as coat's `intervened`.
        fractions: random, temporal, popular_share: shares of all rows that become
            train, validation and test.
        validation_from: temporal: first second of validation, in place of fractions;
            none for no validation where test_from is given.
        test_from: temporal: first second of test, in place of fractions; none for no
            test where validation_from is given.
        last_validation: leave_last: rows of each user in validation.
        last_test: leave_last: rows of each user in test.
        user_fractions: held_out_users, held_out_sequences: shares of all users that
            are for train, validation and test.
        validation_users: held_out_users, held_out_sequences: number of users for
            validation; with test_users in place of user_fractions.
        test_users: held_out_users, held_out_sequences: number of users for test; with
            validation_users in place of user_fractions.
        fold_in: held_out_users, held_out_sequences: share of a held-out user's rows
            that is folded in.
        only_items_of_train: held_out_users, held_out_sequences: leave out held-out
            users' rows of items that have no row in train.
        popular_percentile: popular_share: items with more rows than this percentile of
            all items are popular.
        popular_shares: popular_share: shares of rows on popular items, each of a test
            set of its own.
        overwrite: Replace an earlier split.
    """

    dataset: Path
    rule: Literal[
        "random",
        "intervened",
        "marked",
        "temporal",
        "leave_last",
        "held_out_users",
        "held_out_sequences",
        "popular_share",
    ]
    seed: int = 0
    cap_percentile: float = 90.0
    pool_fraction: float = 0.4
    intervened_shares: tuple[float, ...] = (0.25, 0.25, 0.5)
    intervened_training_fraction: float | None = None
    marked_column: str = "intervened"
    fractions: tuple[float, ...] = (0.7, 0.1, 0.2)
    validation_from: int | None = None
    test_from: int | None = None
    last_validation: int = 1
    last_test: int = 1
    user_fractions: tuple[float, ...] = (0.8, 0.1, 0.1)
    validation_users: int | None = None
    test_users: int | None = None
    fold_in: float = 0.8
    only_items_of_train: bool = False
    popular_percentile: float = 80.0
    popular_shares: tuple[float, ...] = (0.6, 0.5, 0.4, 0.3)
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Raises InputError for a value that makes no sense."""
        if self.rule not in RULES:
            raise unknown_name("rule", self.rule, RULES)
        for name in ("cap_percentile", "popular_percentile"):
            value = getattr(self, name)
            if not 0 <= value <= 100:
                raise InputError(f"`{name}` must lie in [0, 100]; got {value}.")
        for name in ("pool_fraction", "fold_in"):
            value = getattr(self, name)
            if not 0 < value < 1:
                raise InputError(f"`{name}` must lie in (0, 1); got {value}.")
        for name in ("intervened_shares", "fractions", "user_fractions"):
            require_shares(name, getattr(self, name), 3)
        self._require_room_for_training()
        self._require_numbers()
        _require_percents(self.popular_shares)
        if self.rule == "popular_share" and not self.fractions[-1]:
            raise InputError(
                "`fractions` must give test a share under the rule popular_share; got "
                f"{','.join(map(str, self.fractions))}."
            )

    @property
    def time_limits(self) -> tuple[tuple[str, int], ...]:
        """The parts that begin at given times, and when."""
        limits = {VALIDATION: self.validation_from, TEST: self.test_from}
        return tuple((name, at) for name, at in limits.items() if at is not None)

    def _require_room_for_training(self) -> None:
        wanted = self.intervened_training_fraction
        if wanted is None:
            return
        room = 1 - self.pool_fraction * (1 - self.intervened_shares[0])
        if not 0 <= wanted < room:
            raise InputError(
                "`intervened_training_fraction` must lie in "
                f"[0, {room:g}), for validation and test take {1 - room:g} of all "
                f"rows; got {wanted}."
            )

    def _require_numbers(self) -> None:
        begin, end = self.validation_from, self.test_from
        if begin is not None and end is not None and begin >= end:
            raise InputError(
                f"`validation_from` must be before `test_from`; got {begin} and {end}."
            )
        _require_pair(
            ("last_validation", "last_test"), self.last_validation, self.last_test
        )
        if (self.validation_users, self.test_users) != (None, None):
            _require_pair(
                ("validation_users", "test_users"),
                self.validation_users,
                self.test_users,
            )


def _require_pair(
    names: tuple[str, str], validation: int | None, test: int | None
) -> None:
    given = [value for value in (validation, test) if value is not None]
    if len(given) < 2 or min(given) < 0 or not any(given):
        raise InputError(
            f"`{names[0]}` and `{names[1]}` must both be given, neither below 0 and "
            f"one above it; got {validation} and {test}."
        )


def _require_percents(shares: tuple[float, ...]) -> None:
    percents = [100 * share for share in shares]
    whole = all(
        0 < percent < 100 and abs(percent - round(percent)) < 1e-9
        for percent in percents
    )
    if not whole or len(set(map(popular_test_part, shares))) < len(shares):
        raise InputError(
            "`popular_shares` must be different whole numbers of percent above 0 and "
            f"below 1, such as 0.3,0.5; got {','.join(map(str, shares))}."
        )


class SplitFlags(JobFlags):
    """Flags of split."""

    options_class = SplitOptions

    @classmethod
    def _add_argparse_args(cls, parser: ArgumentParser) -> None:
        add_flags(parser, SplitOptions)


def run(
    options: SplitOptions, pipeline_options: PipelineOptions | None = None
) -> Manifest:
    """Writes the parts of a split into DATASET/splits.

    Args:
        options: Options of the job.
        pipeline_options: Beam's options; None to run in this process.
    Returns:
        The manifest of the split; `details["parts"]` has the rows of each part.
    Raises:
        InputError: If the data set or an option does not fit.
    """
    dataset = open_ingested(options.dataset)
    rule = _rule(dataset, options)
    with staged_folder(
        dataset.folder.splits, "splits", overwrite=options.overwrite
    ) as folder:
        for name in rule.parts:
            (folder / name).mkdir()
        plan = SplitPlan(
            dataset.folder, dataset.num_shards, dataset.row_group_size, rule, folder
        )
        split = Split(plan)

        run_pipeline(
            lambda pipeline: pipeline | "Split" >> split,
            pipeline_options,
            without_beam=split.without_beam,
            finish=partial(_finish, options, dataset, plan),
            folder=folder,
        )
        return read_manifest(folder, kind="splits")


def _finish(
    options: SplitOptions, dataset: IngestedDataset, plan: SplitPlan, report: Report
) -> None:
    parts = {name: report.counts[name] for name in sorted(plan.rule.parts)}
    _refuse_empty(parts, dataset.num_interactions)
    left_out = report.counts[LEFT_OUT]
    seal(
        plan.folder,
        "splits",
        options=_effective(options),
        counts=parts | ({LEFT_OUT: left_out} if left_out else {}),
        inputs={"dataset": dataset.manifest.fingerprint},
        details={"parts": parts},
    )


def _refuse_empty(parts: dict[str, int], total: int) -> None:
    # A share of 0 asks for no such part at all; one that comes out empty is an error.
    for name, rows in parts.items():
        if not rows:
            raise InputError(
                f"Every part must get at least one row; `{name}` gets none of {total}. "
                "Ingest more rows, or change the options of the rule."
            )


def _rule(dataset: IngestedDataset, options: SplitOptions) -> Rule:
    if options.rule == "intervened":
        return _intervened(dataset.num_interactions, options)
    if options.rule == "marked":
        return _marked(dataset, options)
    if options.rule == "temporal":
        return _temporal(dataset, options)
    if options.rule == "leave_last":
        return LeaveLast(options.last_validation, options.last_test)
    if options.rule in ("held_out_users", "held_out_sequences"):
        return _held_out(dataset, options)
    deal = Deal.of_shares(RANDOM_PARTS, dataset.num_interactions, options.fractions)
    rows = RandomRows(options.seed, deal)
    if options.rule == "random":
        return rows
    return PopularShares(rows, options.popular_percentile, options.popular_shares)


def _intervened(total: int, options: SplitOptions) -> Rule:
    pool = (options.pool_fraction, 1 - options.pool_fraction)
    pool_rows, _ = part_ends(total, pool)
    training_rows, wanted = None, options.intervened_training_fraction
    if wanted is not None:
        dealt, *_ = part_ends(pool_rows, options.intervened_shares)
        # Sizes are rounded, and no more can be drawn than there is.
        left = total - (pool_rows - dealt)
        training_rows = min(part_ends(total, (wanted, 1 - wanted))[0], left)
    return IntervenedRows(
        seed=options.seed,
        cap_percentile=options.cap_percentile,
        pool_rows=pool_rows,
        deal=Deal.of_shares(POOL_PARTS, pool_rows, options.intervened_shares),
        training_rows=training_rows,
    )


def _marked(dataset: IngestedDataset, options: SplitOptions) -> Rule:
    name, path = options.marked_column, dataset.folder.interactions / shard_name(0)
    schema = pq.read_schema(path)
    if name not in schema.names or not pa.types.is_integer(schema.field(name).type):
        found = ", ".join(f"{one.name} ({one.type})" for one in schema)
        raise InputError(
            f"`marked_column` must be a column of integers of `{dataset.folder.root}`; "
            f"got {name}, and there are {found}. Ingest with --extra_columns={name}, "
            "or choose another rule."
        )
    return MarkedRows(options.seed, name, options.intervened_shares)


def _temporal(dataset: IngestedDataset, options: SplitOptions) -> Rule:
    first, last = _time_bounds(dataset)
    if options.time_limits:
        return TimeLimits(options.time_limits)
    deal = Deal.of_shares(RANDOM_PARTS, dataset.num_interactions, options.fractions)
    return TimeShares(options.seed, deal, first, last)


def _time_bounds(dataset: IngestedDataset) -> tuple[int, int]:
    """Returns the earliest and the latest timestamp of the data set."""
    paths = [
        dataset.folder.interactions / shard_name(shard)
        for shard in range(dataset.num_shards)
    ]
    names = pq.read_schema(paths[0]).names
    if columns.TIMESTAMP not in names:
        raise InputError(
            f"`{dataset.folder.root}` must have timestamps to be split by time; "
            f"its columns are {', '.join(names)}. Ingest with a timestamp column, "
            "or choose another rule."
        )
    return time_bounds(paths)


def _held_out(dataset: IngestedDataset, options: SplitOptions) -> Rule:
    num_users = pq.read_metadata(dataset.folder.users).num_rows - 1
    validation, test = options.validation_users, options.test_users
    if validation is None or test is None:
        ends = part_ends(num_users, options.user_fractions)
        validation, test = ends[1] - ends[0], ends[2] - ends[1]
    if validation + test >= num_users:
        raise InputError(
            f"Of {num_users} users, some must be left for train; {validation} for "
            f"validation and {test} for test are asked for. Hold fewer out."
        )
    earliest = options.rule == "held_out_sequences"
    return HeldOutUsers(
        seed=options.seed,
        num_validation=validation,
        num_test=test,
        fold_in=options.fold_in,
        fold_in_rows="earliest" if earliest else "random",
        only_items_of_train=dataset.num_items if options.only_items_of_train else None,
    )


def _effective(options: SplitOptions) -> dict[str, Any]:
    """Returns the options that play a part under this rule."""
    names = {"rule", *_PLAY_A_PART[options.rule]}
    if options.rule == "temporal" and options.time_limits:
        names -= {"seed", "fractions"}
    if options.validation_users is not None:
        names -= {"user_fractions"}
    return {
        name: value
        for name, value in promised_options(options).items()
        if name in names and value is not None
    }


JOB = Job(
    name="split",
    summary="Splits a data set into training, validation and test parts.",
    flags=SplitFlags,
    run=run,
)


def main() -> int:
    """Runs the command."""
    return JOB.main()


if __name__ == "__main__":
    sys.exit(main())
