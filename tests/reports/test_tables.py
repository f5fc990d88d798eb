"""The tables as data: what they name exists, and the figures are the papers'."""

import dataclasses
from typing import Any

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
    unprinted = {"pda", "lightgcn-pda"}
    assert {name for name, one in dccl.items() if not one} == unprinted
    printed = [one for name, one in dccl.items() if name not in unprinted]
    assert all(set(one) == {"Yelp", "Short-video"} for one in printed)


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


# Table 2 of CauseRec prints what its best row gains over the best baseline, in percent:
# recall, NDCG and hit rate, each at 20 and at 50.
GAINS = {
    "Amazon Books": (13.5, 20.2, 14.5, 22.1, 14.1, 20.2),
    "Yelp": (10.7, 7.36, 5.90, 6.12, 5.45, 5.28),
    "Gowalla": (6.42, 8.64, 1.39, 5.03, 5.32, 6.39),
}


def of_causerec(number: int) -> dict[str, Row]:
    return {row.name: row for row in TABLES[f"causerec-table{number}"].rows}


def test_figures_of_causerec_give_the_gains_that_it_prints() -> None:
    rows = of_causerec(2)
    assert list(rows) == [
        *("pop", "youtube_dnn", "gru4rec", "mind", "comirec-sa", "comirec-dr"),
        *("causerec-base", "causerec-item", "causerec-interest", "causerec-h"),
    ]
    baselines = list(rows)[:6]
    names = [
        f"{name}@{k}" for name in ("recall", "legacy_ndcg", "hr") for k in (20, 50)
    ]
    for data, gains in GAINS.items():
        for name, percent in zip(names, gains, strict=True):
            best = max(rows[row].published[data][name] for row in baselines)
            gain = rows["causerec-h"].published[data][name] / best - 1
            assert gain == pytest.approx(percent / 100, abs=6e-4)
    assert rows["pop"].method == ITEM_POP
    assert all(set(row.published["Yelp"]) == set(names) for row in rows.values())
    assert set(names) < set(TABLES["causerec-table2"].shown)
    # First, middle and last of the table, and the figures with three digits.
    assert rows["pop"].published["Amazon Books"]["recall@20"] == 0.0137
    assert rows["comirec-sa"].published["Yelp"]["legacy_ndcg@20"] == 0.1728
    assert rows["causerec-h"].published["Gowalla"]["hr@50"] == 0.5697
    assert rows["mind"].published["Yelp"]["recall@20"] == 0.044
    assert rows["pop"].published["Yelp"]["recall@50"] == 0.003


def test_figures_of_causerec_agree_between_its_tables() -> None:
    whole, ablated = of_causerec(2), of_causerec(3)
    item = ablated["causerec-item"]
    assert item.fixed == whole["causerec-item"].fixed
    assert list(item.published) == ["Yelp", "Gowalla"]
    assert item.published.items() < whole["causerec-item"].published.items()
    assert ablated["causerec-base"] == whole["causerec-base"]
    # Recall, NDCG and hit rate at 20 and 50, in table 3's order.
    assert list(ablated["without-users"].published["Yelp"].values()) == [
        *(0.0563, 0.1794, 0.3350, 0.1169, 0.3174, 0.5507)
    ]
    assert ablated["positives-only"].published["Gowalla"]["legacy_ndcg@20"] == 0.2693
    assert ablated["causerec-base"].published["Gowalla"]["hr@50"] == 0.5218
    # The defaults stand in tables 4, 5 and 6 again, with three digits.
    for row, other in (
        (of_causerec(4)["n8-m1"], "causerec-item"),
        (of_causerec(5)["rate-0.5"], "causerec-item"),
        (of_causerec(6)["concepts-20"], "causerec-interest"),
    ):
        for data in ("Yelp", "Gowalla"):
            figures = whole[other].published[data]
            assert row.published[data] == pytest.approx(
                {
                    name: figures[name]
                    for name in ("recall@50", "legacy_ndcg@50", "hr@50")
                },
                abs=5.1e-4,
            )
    assert of_causerec(4)["n1-m1"].published["Yelp"]["recall@50"] == 0.111
    assert of_causerec(4)["n1-m8"].published["Gowalla"]["hr@50"] == 0.498
    assert of_causerec(5)["rate-0.6"].published["Yelp"]["legacy_ndcg@50"] == 0.307
    assert of_causerec(6)["concepts-4"].published["Yelp"]["legacy_ndcg@50"] == 0.28
    assert of_causerec(6)["concepts-30"].published["Gowalla"]["hr@50"] == 0.547


def test_rows_of_causerec_are_what_the_paper_calls_them() -> None:
    defaults = {
        "num_positive": 1,
        "num_negative": 8,
        "replace_rate": 0.5,
        "user_weight": 1.0,
        "item_weight": 1.0,
        "num_concepts": 20,
    }

    def changed(row: Row) -> dict[str, Any]:
        """Returns what a row has other than the paper's Item and Interest."""
        options = methods.get(row.method).options_class(**row.fixed)
        found = {name: getattr(options, name) for name in defaults}
        return {name: value for name, value in found.items() if value != defaults[name]}

    whole, ablated = of_causerec(2), of_causerec(3)
    assert whole["causerec-base"].fixed["level"] == "none"
    assert changed(whole["causerec-item"]) == {}
    assert changed(whole["causerec-interest"]) == {}
    assert changed(whole["causerec-h"]) == {}
    assert changed(ablated["without-users"]) == {"user_weight": 0.0}
    assert changed(ablated["without-items"]) == {"item_weight": 0.0}
    for name, lacking in (
        ("positives-only", "num_negative"),
        ("negatives-only", "num_positive"),
    ):
        assert changed(ablated[name]) == {lacking: 0, "user_weight": 0.0}
    for row in of_causerec(4).values():
        found = {**defaults, **changed(row)}
        assert row.name == f"n{found['num_negative']}-m{found['num_positive']}"
    assert changed(of_causerec(5)["rate-0.8"]) == {"replace_rate": 0.8}
    for row in of_causerec(6).values():
        assert row.name == f"concepts-{row.fixed['num_concepts']}"
        assert row.fixed["level"] == "interest"
    for number in (2, 3, 4, 5, 6):
        one = TABLES[f"causerec-table{number}"]
        assert one.protocol == "causerec"
        assert all(row.fixed["embedding_dim"] == 64 for row in one.rows[1:])
        text = " ".join(one.notes)
        for words in ("held_out_sequences", "amsgrad=false", "`legacy_ndcg`"):
            assert words in text


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
        assert {*one.maps, *one.user_maps} <= {row.name for row in one.rows}


def test_trainings_are_counted() -> None:
    # 6 settings with seed 0, then seeds 1 and 2 of the best one.
    row = Row("a", "mf", tuned={"learning_rate": (1.0, 2.0, 3.0), "l2": (1.0, 2.0)})
    assert row.num_trainings(6, 3, calibrated=False) == 8
    assert row.num_trainings(100, 3, calibrated=False) == 8
    assert row.num_trainings(6, 3, calibrated=True) == 10
    assert row.num_trainings(1, 1, calibrated=True) == 1
    both = Table("t", "", "", (row, Row("b", ITEM_POP)))
    assert both.num_trainings(2, 2, calibrated=False) == 3


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
    assert before.tuned == {
        "learning_rate",
        "l2",
        "gamma",
        "reference_score",
        "contrast_temperature",
        "interest_weight",
        "conformity_weight",
    }
    (pd,) = (row for row in after.rows if row.name == "pd")
    assert pd.num_settings == 4 * 2 * 1


def test_misspelt_names_get_advice() -> None:
    with pytest.raises(InputError, match="Did you mean `dice-table2`"):
        table("dice-tabel2")
    with pytest.raises(InputError, match="Did you mean `ips-cn`"):
        table("dccl-table2").only(("mf", "ips_cn"))
