"""The tables as data: what they name exists, and the figures are the papers'."""

import dataclasses

import pytest

from beam_jobs.split import RULES, SplitOptions
from tfcausal import methods
from tfcausal.errors import InputError
from tfcausal.reports.rows import ITEM_POP, METRICS, Row, Table
from tfcausal.reports.tables import TABLES, table
from tfcausal.reports.trainings import options_of
from tfcausal.schema.protocol import protocol
from tfcausal.training.options import TrainingOptions

ROWS = [
    pytest.param(row, id=f"{name}/{row.name}")
    for name, one in TABLES.items()
    for row in one.rows
    if row.is_trained
]


@pytest.mark.parametrize("row", ROWS)
def test_a_row_names_options_that_exist(row: Row) -> None:
    own = {
        field.name
        for field in dataclasses.fields(methods.get(row.method).options_class)
    }
    of_training = {field.name for field in dataclasses.fields(TrainingOptions)}
    assert set(row.fixed) <= own
    assert set(row.tuned) <= own | of_training
    assert not set(row.fixed) & set(row.tuned)
    assert {"learning_rate", "l2"} <= set(row.tuned)
    for values in row.tuned.values():
        assert len(set(values)) == len(values) > 1
    defaults = {name: values[0] for name, values in row.tuned.items()}
    method, training = options_of(
        row.method, {**defaults, **row.fixed}, TrainingOptions()
    )
    for name, value in {**defaults, **row.fixed}.items():
        found = method if name in own else training
        assert getattr(found, name) == value


@pytest.mark.parametrize("name", TABLES)
def test_rows_differ_and_are_tuned_over_the_same_values(name: str) -> None:
    one = table(name)
    names = [row.name for row in one.rows]
    assert len(set(names)) == len(names)
    assert protocol(one.protocol).ks[:2] == (20, 50)
    trained = [row for row in one.rows if row.is_trained]
    for option in ("learning_rate", "l2"):
        assert len({frozenset(row.tuned[option]) for row in trained}) == 1


def test_figures_of_the_papers() -> None:
    dice = {row.name: row.published for row in TABLES["dice-table2"].rows}
    assert dice["itempop"] == {}
    assert dice["ips-cn"]["MovieLens-10M"]["recall@20"] == 0.1412
    assert dice["ips-cn"]["MovieLens-10M"]["ndcg@50"] == 0.1264
    assert dice["dice"]["Netflix"] == dict(
        zip(METRICS, (0.1258, 0.5545, 0.1070, 0.2164, 0.7090, 0.1345), strict=True)
    )
    graph = {row.name: row.published for row in TABLES["dice-table2-lightgcn"].rows}
    assert graph["lightgcn"]["Netflix"]["hr@50"] == 0.6609
    assert graph["dice"]["MovieLens-10M"]["recall@20"] == 0.1812
    # DCCL prints percent: 7.254 and 2.816 on Yelp, 4.613 and 1.713 on Short-video.
    dccl = {row.name: row.published for row in TABLES["dccl-table2"].rows}
    assert dccl["lightgcn-dccl"] == {
        "Yelp": {"hr@20": 0.07254, "ndcg@20": 0.02816},
        "Short-video": {"hr@20": 0.04613, "ndcg@20": 0.01713},
    }
    assert all(set(one) == {"Yelp", "Short-video"} for one in dccl.values())


def test_ablations_of_dccl_and_dice() -> None:
    dccl = {row.name: row for row in TABLES["dccl-table2"].rows}
    # DCCL w/o IPCL: 5.431 and 2.143 percent on Yelp.
    without = dccl["dccl-without-ipcl"]
    assert without.published["Yelp"] == {"hr@20": 0.05431, "ndcg@20": 0.02143}
    assert without.fixed == {**dccl["dccl"].fixed, "interest_weight": 0.0}
    without = dccl["lightgcn-dccl-without-cpcl"]
    assert without.published["Short-video"] == {"hr@20": 0.04311, "ndcg@20": 0.01653}
    assert without.fixed == {**dccl["lightgcn-dccl"].fixed, "conformity_weight": 0.0}
    whole, *others = TABLES["dice-ablations"].rows
    for row in others:
        changed = {
            name for name in row.fixed if row.fixed[name] != whole.fixed.get(name)
        }
        assert len(changed) == 1


def test_an_axis_is_an_option_of_what_it_is_over() -> None:
    of_splits = {field.name for field in dataclasses.fields(SplitOptions)}
    for one in TABLES.values():
        axis = one.axis
        if axis is None:
            continue
        if axis.over == "rows":
            points = [(row.line, row.fixed[axis.name]) for row in one.rows]
            assert len(set(points)) == len(points)
        elif axis.over == "ks":
            assert axis.ks == tuple(sorted(axis.ks))
        else:
            assert axis.name in of_splits
            assert axis.rule in RULES
        # Nothing is printed in these figures.
        assert not any(row.published for row in one.rows)
        assert set(axis.metrics) <= set(one.shown)
        assert set(one.maps) <= {row.name for row in one.rows}


def test_trainings_are_counted() -> None:
    # 6 settings with seed 0, then seeds 1 and 2 of the best one.
    row = Row("a", "mf", tuned={"learning_rate": (1.0, 2.0, 3.0), "l2": (1.0, 2.0)})
    assert row.num_trainings(6, 3) == 8
    assert row.num_trainings(100, 3) == 8
    assert row.num_trainings(1, 1) == 1
    both = Table("t", "", "", (row, Row("b", ITEM_POP)))
    assert both.num_trainings(2, 2) == 3


def test_rows_are_chosen_in_the_order_of_the_table() -> None:
    one = table("dice-table2")
    assert [row.name for row in one.only(("dice", "mf")).rows] == ["mf", "dice"]
    assert one.only(()) == one


def test_other_values_to_tune_over_go_to_the_rows_that_tune_it() -> None:
    before = table("dccl-table2")
    after = before.tuned_over({"gamma": (0.3,), "l2": (1e-3, 1e-4)})
    for old, new in zip(before.rows, after.rows, strict=True):
        assert new.tuned.keys() == old.tuned.keys()
        assert new.tuned["l2"] == (1e-3, 1e-4)
        assert new.tuned["learning_rate"] == old.tuned["learning_rate"]
        assert new.tuned.get("gamma", (0.3,)) == (0.3,)
    assert before.tuned == {"learning_rate", "l2", "gamma", "reference_score"}
    (pd,) = (row for row in after.rows if row.name == "pd")
    assert pd.num_settings == 4 * 2 * 1


def test_misspelt_names_get_advice() -> None:
    with pytest.raises(InputError, match="Did you mean `dice-table2`"):
        table("dice-tabel2")
    with pytest.raises(InputError, match="Did you mean `ips-cn`"):
        table("dccl-table2").only(("mf", "ips_cn"))
