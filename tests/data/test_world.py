"""The synthetic world: counts, laws, and equal bytes however it is cut."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tfcausal.data.world import TEST_SETS, Rows, World, concentration
from tfcausal.data.world_causes import WorldOptions, draw_causes
from tfcausal.data.world_folder import write_world
from tfcausal.data.world_picks import Exposure, Histories, Situation, Visits
from tfcausal.data.world_truth import read_truth
from tfcausal.errors import InputError
from tfcausal.stats import mixing

SMALL = WorldOptions(interactions=5_000)


class Drawn:
    """A world drawn to its end, with popularity after every round."""

    def __init__(self, options: WorldOptions, block_users: int = 8_192) -> None:
        self.world = World(options, block_users=block_users, workers=2)
        self.rounds, self.popularity, self.appeals = [], [], []
        for rows in self.world.log():
            self.rounds.append(rows)
            self.popularity.append(self.world.popularity.copy())
            self.appeals.append(self.world.appeal)
        self.tests = dict(self.world.tests())

    @property
    def users(self) -> np.ndarray:
        return np.concatenate([rows.users for rows in self.rounds])

    @property
    def items(self) -> np.ndarray:
        return np.concatenate([rows.items for rows in self.rounds])

    def interest(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        causes = self.world.causes
        return np.sum(causes.interest[users] * causes.content[items], axis=1)


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    return Drawn(WorldOptions(interactions=100_000))


def file_hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def read_rows(folder: Path) -> list[tuple[str, str, int]]:
    table = pq.read_table(folder)
    return list(
        zip(*(table[name].to_pylist() for name in table.column_names), strict=True)
    )


def equal_rows(left: Rows, right: Rows) -> bool:
    return (
        np.array_equal(left.users, right.users)
        and np.array_equal(left.items, right.items)
        and np.array_equal(left.timestamps, right.timestamps)
    )


class TestLog:
    def test_has_exactly_the_rows_asked_for(self, drawn: Drawn) -> None:
        assert len(drawn.users) == 100_000
        assert drawn.world.popularity.sum() == 100_000
        assert np.array_equal(
            np.bincount(drawn.users, minlength=2_000), drawn.world.causes.picks
        )

    def test_no_user_picks_an_item_twice(self, drawn: Drawn) -> None:
        log = set(zip(drawn.users.tolist(), drawn.items.tolist(), strict=True))
        assert len(log) == 100_000
        for rows in drawn.tests.values():
            test = set(zip(rows.users.tolist(), rows.items.tolist(), strict=True))
            assert len(test) == len(rows)
            assert not test & log

    def test_time_never_goes_back(self, drawn: Drawn) -> None:
        times = np.concatenate([rows.timestamps for rows in drawn.rounds])
        assert np.all(np.diff(times) >= 0)
        for rows in drawn.tests.values():
            assert rows.timestamps[0] > times[-1]

    def test_popularity_has_a_long_tail_that_feedback_makes_longer(
        self, drawn: Drawn
    ) -> None:
        ginis = [
            concentration(np.bincount(rows.items, minlength=len(popularity)))["gini"]
            for rows, popularity in zip(drawn.rounds, drawn.popularity, strict=True)
        ]
        last = concentration(drawn.popularity[-1])
        assert last["gini"] > 0.6
        assert last["top_10_percent"] > 0.5
        # Round 0 knows only the base exposure; late rounds have fewer new popular
        # items to offer, as nobody picks twice.
        assert ginis[0] < ginis[1] < ginis[2]
        assert min(ginis[2:]) > ginis[0] + 0.2

    def test_without_feedback_popularity_is_less_concentrated(self) -> None:
        options = WorldOptions(interactions=50_000)
        fed = Drawn(options)
        single = Drawn(replace(options, rounds=1))
        assert (
            concentration(fed.world.popularity)["gini"]
            > concentration(single.world.popularity)["gini"] + 0.1
        )

    def test_picks_follow_both_causes(self, drawn: Drawn) -> None:
        causes, appeal = drawn.world.causes, drawn.world.appeal
        late = drawn.rounds[-1]
        assert drawn.interest(late.users, late.items).mean() > 1.0
        assert appeal[late.items].mean() > 0.5
        # Users who conform more pick what is more popular.
        strong = causes.conformity[late.users] > np.median(causes.conformity)
        popular = appeal[late.items]
        assert popular[strong].mean() > popular[~strong].mean() + 0.3


class TestInterventions:
    def test_equal_exposure_slates_are_uniform(self) -> None:
        world = World(SMALL)
        visits = Visits(
            seed=0,
            slate_size=1_000,
            causes=world.causes,
            histories=Histories.with_room(world.causes.picks),
        )
        situation = Situation(
            "any", Exposure.uniform(SMALL.num_items), np.zeros(SMALL.num_items)
        )
        slates = visits.slates(situation, np.arange(100))
        counts = np.bincount(slates.ravel(), minlength=SMALL.num_items)
        assert chi_square_z(counts, np.ones(SMALL.num_items)) < 4

    def test_the_policy_shows_items_by_their_weight(self) -> None:
        weights = np.arange(1, 51, dtype=np.float64) ** 1.5
        words = mixing.draws(np.zeros(1, np.uint64), np.arange(200_000))
        counts = np.bincount(
            Exposure.proportional_to(weights).items(words), minlength=50
        )
        assert chi_square_z(counts, weights) < 4

    def test_only_interest_moves_picks_without_conformity(self, drawn: Drawn) -> None:
        rows = drawn.tests["test_no_conformity"]
        assert drawn.interest(rows.users, rows.items).mean() > 2.0
        assert abs(excess_appeal(drawn, "test_no_conformity")) < 0.05
        assert excess_appeal(drawn, "test_equal_exposure") > 0.4

    def test_conformity_stays_under_equal_exposure(self, drawn: Drawn) -> None:
        appeal = {
            name: drawn.world.appeal[rows.items].mean()
            for name, rows in drawn.tests.items()
        }
        assert appeal["test_observational"] > appeal["test_equal_exposure"] + 0.2
        assert appeal["test_equal_exposure"] > appeal["test_no_conformity"] + 0.2

    def test_best_weight_of_conformity_falls_in_order(self, drawn: Drawn) -> None:
        causes, appeal = drawn.world.causes, drawn.world.appeal
        interest = causes.interest @ causes.content.T
        conformity = causes.conformity[:, None] * appeal
        seen = np.zeros(interest.shape, np.bool_)
        seen[drawn.users, drawn.items] = True
        recall = {}
        for name, rows in drawn.tests.items():
            wanted = np.zeros(interest.shape, np.bool_)
            wanted[rows.users, rows.items] = True
            for weight in (0.0, 1.0, 2.0):
                scores = np.where(seen, -np.inf, interest + weight * conformity)
                top = np.argpartition(-scores, 20, axis=1)[:, :20]
                recall[name, weight] = np.take_along_axis(wanted, top, axis=1).mean()
        best = [
            max((0.0, 1.0, 2.0), key=lambda weight: recall[name, weight])
            for name in TEST_SETS
        ]
        assert best == [2.0, 1.0, 0.0]


class TestPicks:
    def test_law_is_the_softmax_over_new_items(self) -> None:
        options = replace(SMALL, users=2_000, interactions=20_000)
        causes = draw_causes(options)
        num_users, num_items = 2_000, 3
        # Every user alike, three items on nearly every slate, item 0 had before.
        causes = replace(
            causes,
            interest=np.ones((num_users, 1), np.float32),
            content=np.asarray([[5.0], [1.0], [0.0]], np.float32),
            conformity=np.full(num_users, 0.5),
        )
        histories = Histories.with_room(np.full(num_users, 3))
        users = np.arange(num_users)
        histories.append(users, np.zeros(num_users, np.int64))
        visits = Visits(seed=0, slate_size=60, causes=causes, histories=histories)
        situation = Situation(
            "any", Exposure.uniform(num_items), np.asarray([3.0, 0.0, 4.0])
        )
        picked = visits.pick(situation, users)
        # Item 1: 1 + 0.5 * 0 = 1; item 2: 0 + 0.5 * 4 = 2; slots are equal on average.
        share = np.exp(2) / (np.exp(1) + np.exp(2))
        assert set(picked.tolist()) == {1, 2}
        assert np.mean(picked == 2) == pytest.approx(share, abs=0.04)
        assert set(visits.pick(situation, users) + picked) == {3}

    @pytest.mark.parametrize("seed", range(3))
    def test_histories_agree_with_sets(self, seed: int) -> None:
        capacities = np.asarray([1, 4, 9, 30, 2])
        histories = Histories.with_room(capacities)
        sets: list[set[int]] = [set() for _ in capacities]
        words = mixing.draws(np.full(1, seed, np.uint64), np.arange(30)) % 40
        for word in words.tolist():
            users = np.asarray(
                [u for u, size in enumerate(capacities) if len(sets[u]) < size],
                np.int64,
            )
            items = np.asarray([(word + 7 * u) % 40 for u in users], np.int64)
            new = ~histories.contain(users, items)
            assert new.tolist() == [
                item not in sets[user]
                for user, item in zip(users, items.tolist(), strict=True)
            ]
            histories.append(users[new], items[new])
            for user, item in zip(users[new], items[new].tolist(), strict=True):
                sets[user].add(item)
        everything = histories.contain(np.arange(5)[:, None], np.arange(40)[None, :])
        for user, known in enumerate(sets):
            assert set(np.nonzero(everything[user])[0].tolist()) == known

    def test_removing_the_last_restores_the_table(self) -> None:
        histories = Histories.with_room(np.asarray([8, 8]))
        for item in (3, 50, 12, 7):
            histories.append(np.asarray([0, 1]), np.asarray([item, item + 1]))
        before = histories.slots.copy()
        for item in (99, 23, 24, 61):
            histories.append(np.asarray([0, 1]), np.asarray([item, item + 1]))
        users = np.asarray([0, 1, 0, 1, 0, 1, 0, 1])
        histories.remove(users, np.asarray([99, 100, 23, 24, 24, 25, 61, 62]))
        assert np.array_equal(histories.slots, before)
        assert histories.filled.tolist() == [4, 4]


class TestSameBytes:
    def test_blocks_and_threads_change_no_row(self) -> None:
        options = WorldOptions(interactions=20_000)
        whole, cut = Drawn(options), Drawn(options, block_users=37)
        assert all(map(equal_rows, whole.rounds, cut.rounds))
        for name in TEST_SETS:
            assert equal_rows(whole.tests[name], cut.tests[name])

    def test_same_options_same_files(self, tmp_path: Path) -> None:
        write_world(tmp_path / "one", SMALL, block_users=13, workers=1)
        write_world(tmp_path / "two", SMALL, workers=2)
        assert file_hashes(tmp_path / "one") == file_hashes(tmp_path / "two")

    def test_shards_change_no_row(self, tmp_path: Path) -> None:
        manifest = write_world(tmp_path / "few", SMALL)
        write_world(tmp_path / "many", SMALL, rows_per_shard=999)
        assert len(list((tmp_path / "many/log").iterdir())) == 6
        for name in ("log", *TEST_SETS):
            rows = read_rows(tmp_path / "few" / name)
            assert rows == read_rows(tmp_path / "many" / name)
            assert len(rows) == manifest.counts[name]

    def test_what_was_under_way_does_not_matter(self, tmp_path: Path) -> None:
        write_world(tmp_path / "clean", SMALL)
        (tmp_path / ".world.partial").mkdir()
        (tmp_path / ".world.partial/left").write_text("half a file")
        write_world(tmp_path / "world", SMALL)
        assert file_hashes(tmp_path / "clean") == file_hashes(tmp_path / "world")

    def test_seeds_differ(self) -> None:
        one, two = Drawn(SMALL), Drawn(replace(SMALL, seed=1))
        same = np.mean(one.rounds[0].items[:200] == two.rounds[0].items[:200])
        assert same < 0.2

    def test_inner_products_are_exact_in_any_order(self) -> None:
        causes = draw_causes(replace(SMALL, interest_strength=15.0))
        exact = causes.interest.astype(np.float64) @ causes.content.astype(np.float64).T
        forward = np.einsum("ud,id->ui", causes.interest, causes.content)
        assert np.array_equal(forward, exact)
        assert np.array_equal(causes.interest @ causes.content.T, exact)


class TestTruth:
    def test_agrees_with_a_loop_over_pairs(self, tmp_path: Path) -> None:
        write_world(tmp_path / "world", SMALL)
        truth = read_truth(tmp_path / "world")
        rows = read_rows(tmp_path / "world/log")[:50]
        users, items = [row[0] for row in rows], [row[1] for row in rows]
        table_u = pq.read_table(tmp_path / "world/truth/users.parquet").to_pylist()
        table_i = pq.read_table(tmp_path / "world/truth/items.parquet").to_pylist()
        by_user = {row["user_id"]: row for row in table_u}
        by_item = {row["item_id"]: row for row in table_i}
        interest = [
            sum(
                a * b
                for a, b in zip(
                    by_user[user]["interest"], by_item[item]["content"], strict=True
                )
            )
            for user, item in zip(users, items, strict=True)
        ]
        conformity = [
            by_user[user]["conformity_strength"] * by_item[item]["appeal"]
            for user, item in zip(users, items, strict=True)
        ]
        np.testing.assert_allclose(truth.interest(users, items), interest)
        np.testing.assert_allclose(
            truth.conformity(np.asarray(users), np.asarray(items)), conformity
        )

    def test_appeal_is_the_standardised_log_popularity(self, tmp_path: Path) -> None:
        write_world(tmp_path / "world", SMALL)
        truth = read_truth(tmp_path / "world")
        picked = [item for _, item, _ in read_rows(tmp_path / "world/log")]
        logs = np.log([1 + picked.count(item) for item in truth.item_ids.to_pylist()])
        expected = (logs - logs.mean()) / logs.std()
        np.testing.assert_allclose(truth.appeal, expected)

    def test_refuses_an_id_of_another_world(self, tmp_path: Path) -> None:
        write_world(tmp_path / "world", SMALL)
        truth = read_truth(tmp_path / "world")
        with pytest.raises(InputError, match=r"must be one of the world's .*'u999999'"):
            truth.interest(["u000000", "u999999"], ["i00000", "i00001"])


class TestRefusals:
    @pytest.mark.parametrize("interactions", [999, 50_000_001, -1])
    def test_sizes_out_of_range(self, interactions: int) -> None:
        with pytest.raises(InputError, match="must lie between 1,000 and 50,000,000"):
            WorldOptions(interactions=interactions)

    def test_too_few_items(self) -> None:
        with pytest.raises(InputError, match="`items` must be at least"):
            WorldOptions(interactions=10_000, items=50)

    def test_not_a_number(self) -> None:
        with pytest.raises(InputError, match="`conformity_strength` must lie between"):
            WorldOptions(conformity_strength=float("nan"))

    def test_a_finished_folder(self, tmp_path: Path) -> None:
        write_world(tmp_path / "world", SMALL)
        with pytest.raises(InputError, match="--overwrite"):
            write_world(tmp_path / "world", SMALL)
        write_world(tmp_path / "world", SMALL, overwrite=True)

    def test_rows_per_shard(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="`rows_per_shard` must be at least 1"):
            write_world(tmp_path / "world", SMALL, rows_per_shard=0)


def test_concentration_by_hand() -> None:
    # Ranks 1..4 of 0, 0, 1, 3: 2 * (3 * 1 + 4 * 3) / (4 * 4) - 5 / 4 = 0.625.
    found = concentration(np.asarray([1, 0, 3, 0]))
    assert found["gini"] == pytest.approx(0.625)
    assert found["top_10_percent"] == pytest.approx(0.75)


def excess_appeal(drawn: Drawn, name: str) -> float:
    """Returns how much more popular picks are than items of the same interest.

    Each pick is compared with the user's other items just above and just below it in
    true interest, among those that the log had left to pick.
    """
    causes, rows = drawn.world.causes, drawn.tests[name]
    interest = (causes.interest @ causes.content.T).astype(np.float64)
    interest[drawn.users, drawn.items] = -np.inf
    order = np.argsort(-interest, axis=1)
    rank = np.argsort(order, axis=1)[rows.users, rows.items]
    appeal = drawn.world.appeal
    above = appeal[order[rows.users, np.maximum(rank - 1, 0)]]
    below = appeal[order[rows.users, rank + 1]]
    return float(np.mean(appeal[rows.items] - (above + below) / 2))


def chi_square_z(counts: np.ndarray, weights: np.ndarray) -> float:
    """Returns how many standard deviations the statistic lies above its mean."""
    expected = counts.sum() * weights / weights.sum()
    statistic = np.sum((counts - expected) ** 2 / expected)
    freedom = len(counts) - 1
    return float((statistic - freedom) / np.sqrt(2 * freedom))
