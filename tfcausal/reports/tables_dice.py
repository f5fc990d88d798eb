"""Tables and figures of DICE.

Reference: Zheng et al., Disentangling User Interest and Conformity for Recommendation
with Causal Embedding, WWW 2021.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tfcausal.reports.rows import IOU, ITEM_POP, METRICS, Axis, Row, Table
from tfcausal.reports.tables_shared import NO_NUMBERS, tuned, unprinted
from tfcausal.schema.dataset import TRAIN_INTERVENED

_DATA = ("MovieLens-10M", "Netflix")


def _published(*figures: float) -> dict[str, dict[str, float]]:
    """Returns figures in the order of the paper's columns, six for each data set."""
    return {
        data: dict(zip(METRICS, figures[start : start + 6], strict=True))
        for data, start in zip(_DATA, range(0, len(figures), 6), strict=False)
    }


_WIDE, _NARROW = {"embedding_dim": 128}, {"embedding_dim": 64}
_ON_MF = _published(
    *(0.1634, 0.5197, 0.1084, 0.2872, 0.6975, 0.1468),
    *(0.1258, 0.5545, 0.1070, 0.2164, 0.7090, 0.1345),
)
_RANDOM = _published(0.1274, 0.4394, 0.0843, 0.2306, 0.6255, 0.1160)
_FIGURES = {
    "mf": {
        "none": _published(
            *(0.1286, 0.4429, 0.0846, 0.2346, 0.6295, 0.1170),
            *(0.1122, 0.5194, 0.0943, 0.1928, 0.6749, 0.1185),
        ),
        "ips": _published(
            *(0.1335, 0.4434, 0.0852, 0.2376, 0.6288, 0.1174),
            *(0.1058, 0.4882, 0.0864, 0.1855, 0.6562, 0.1112),
        ),
        "ips-c": _published(
            *(0.1367, 0.4564, 0.0875, 0.2429, 0.6383, 0.1203),
            *(0.1119, 0.5046, 0.0919, 0.1938, 0.6700, 0.1174),
        ),
        "ips-cn": _published(
            *(0.1412, 0.4700, 0.0925, 0.2509, 0.6477, 0.1264),
            *(0.1080, 0.5042, 0.0935, 0.1912, 0.6621, 0.1185),
        ),
        "ips-cnsr": _published(
            *(0.1365, 0.4588, 0.0895, 0.2419, 0.6366, 0.1219),
            *(0.1110, 0.5159, 0.0948, 0.1937, 0.6713, 0.1192),
        ),
        "cause": _published(
            *(0.1157, 0.4066, 0.0744, 0.2121, 0.5924, 0.1037),
            *(0.0935, 0.4641, 0.0782, 0.1651, 0.6272, 0.0994),
        ),
        "dice": _ON_MF,
    },
    "lightgcn": {
        "none": _published(
            *(0.1378, 0.4625, 0.0898, 0.2513, 0.6505, 0.1247),
            *(0.1026, 0.4908, 0.0870, 0.1842, 0.6609, 0.1112),
        ),
        "ips": _published(
            *(0.1394, 0.4645, 0.0919, 0.2538, 0.6473, 0.1275),
            *(0.1101, 0.5091, 0.0950, 0.1941, 0.6657, 0.1203),
        ),
        "ips-c": _published(
            *(0.1478, 0.4829, 0.0971, 0.2654, 0.6632, 0.1339),
            *(0.1157, 0.5219, 0.1004, 0.2037, 0.6816, 0.1270),
        ),
        "ips-cn": _published(
            *(0.1119, 0.3997, 0.0701, 0.2281, 0.6112, 0.1057),
            *(0.0726, 0.3991, 0.0643, 0.1472, 0.5841, 0.0866),
        ),
        "ips-cnsr": _published(
            *(0.1300, 0.4427, 0.0852, 0.2336, 0.6282, 0.1171),
            *(0.0826, 0.4337, 0.0715, 0.1589, 0.6124, 0.0940),
        ),
        "cause": _published(
            *(0.1027, 0.3729, 0.0632, 0.2044, 0.5811, 0.0941),
            *(0.0838, 0.4289, 0.0677, 0.1569, 0.6119, 0.0902),
        ),
        "dice": _published(
            *(0.1812, 0.5563, 0.1228, 0.3100, 0.7216, 0.1629),
            *(0.1420, 0.5910, 0.1217, 0.2367, 0.7340, 0.1499),
        ),
    },
}


_BACKBONES: Mapping[str, Mapping[str, Any]] = {
    "mf": {"backbone": "mf"},
    # As in DICE's code.
    "lightgcn": {
        "backbone": "lightgcn",
        "graph_layers": 2,
        "self_loops": True,
        "feature_dropout": 0.2,
    },
}


def _rows(backbone: str, *names: str) -> tuple[Row, ...]:
    """Returns rows of DICE's table 2 and figure 4 by name, in the order of `names`."""
    figures, more = _FIGURES[backbone], _BACKBONES[backbone]
    wide, narrow = {**_WIDE, **more}, {**_NARROW, **more}
    rows = (
        Row("itempop", ITEM_POP),
        Row(backbone, "mf", wide, tuned(1e-2), figures["none"]),
        *(
            Row(name, "bias", {**wide, "biases": biases}, tuned(1e-2))
            for name, biases in (
                ("bias-u", "user"),
                ("bias-i", "item"),
                ("bias-ui", "both"),
            )
        ),
        *(
            Row(
                name,
                "ips",
                {**wide, "form": name.replace("-", "_")},
                tuned(1e-2),
                figures[name],
            )
            for name in ("ips", "ips-c", "ips-cn", "ips-cnsr")
        ),
        Row("cause", "cause", narrow, tuned(1e-2), figures["cause"], TRAIN_INTERVENED),
        Row("dice", "dice", narrow, tuned(1e-3), figures["dice"]),
    )
    by_name = {row.name: row for row in rows}
    return tuple(by_name[name] for name in names)


def _variant(name: str, line: str = "", **fixed: Any) -> Row:
    """Returns DICE on MF with something changed."""
    return Row(
        name,
        "dice",
        {**_NARROW, **_BACKBONES["mf"], **fixed},
        tuned(1e-3),
        line=line,
    )


_FIGURE_4 = "The paper shows BIAS-I in figure 4 alone, as bars without figures."
_NO_ITEMPOP = "The paper's table has no ItemPop."
_ROWS_OF_TABLE_2 = ("ips", "ips-c", "ips-cn", "ips-cnsr", "cause", "dice")
_ROWS_OF_FIGURE_4 = ("bias-u", "bias-i", "bias-ui", "dice")
_ALPHAS = (0.1, 0.2, 0.5, 1.0)

DICE_TABLES = (
    Table(
        "dice-table2",
        "DICE and its baselines, on matrix factorisation",
        "Zheng et al., DICE, WWW 2021, table 2, MF",
        _rows("mf", "itempop", "mf", "bias-i", *_ROWS_OF_TABLE_2),
        notes=(_FIGURE_4, _NO_ITEMPOP),
    ),
    Table(
        "dice-table2-lightgcn",
        "DICE and its baselines, on LightGCN",
        "Zheng et al., DICE, WWW 2021, table 2, GCN",
        _rows("lightgcn", "itempop", "lightgcn", "bias-i", *_ROWS_OF_TABLE_2),
        notes=(_FIGURE_4, _NO_ITEMPOP),
    ),
    Table(
        "dice-table3",
        "DICE with negatives by popularity and with uniform ones",
        "Zheng et al., DICE, WWW 2021, table 3",
        (
            Row(
                "pnsm",
                "dice",
                {**_NARROW, "negatives": "popularity_margin"},
                tuned(1e-3),
                {"MovieLens-10M": _ON_MF["MovieLens-10M"]},
            ),
            Row(
                "random",
                "dice",
                {**_NARROW, "negatives": "uniform"},
                tuned(1e-3),
                _RANDOM,
            ),
        ),
    ),
    Table(
        "dice-figure4",
        "Conformity as an embedding, and as a scalar",
        "Zheng et al., DICE, WWW 2021, figure 4",
        (
            *_rows("mf", "mf", *_ROWS_OF_FIGURE_4),
            *_rows("lightgcn", "lightgcn"),
            *(
                replace(row, name=f"lightgcn-{row.name}")
                for row in _rows("lightgcn", *_ROWS_OF_FIGURE_4)
            ),
        ),
        notes=(
            "The paper draws bars without figures; those beside MF, LightGCN and "
            "DICE are its table 2's.",
        ),
    ),
    Table(
        "dice-figure5",
        "How much of what is recommended is what is popular, by cause",
        "Zheng et al., DICE, WWW 2021, figure 5",
        unprinted(_rows("mf", "mf", "ips", "cause", "dice")),
        notes=(NO_NUMBERS,),
        axis=Axis("k", "ks", metrics=(IOU,), ks=tuple(range(10, 101, 10))),
        maps=("mf", "ips", "cause", "dice"),
    ),
    Table(
        "dice-figure6",
        "DICE under interventions of different strength",
        "Zheng et al., DICE, WWW 2021, figure 6",
        unprinted(_rows("mf", "mf", "ips-cnsr", "dice")),
        notes=(
            NO_NUMBERS,
            "Its caps are 0.5, 0.7 and 0.9; here they are percentiles of the "
            "weights. It has no MF.",
        ),
        axis=Axis("cap_percentile", "splits", rule="intervened"),
    ),
    Table(
        "dice-ablations",
        "DICE without its parts, and with each form of its discrepancy",
        "Zheng et al., DICE, WWW 2021, section 4.4 and figure 7",
        (
            *_rows("mf", "dice"),
            replace(
                _variant("random", negatives="uniform"),
                published=_RANDOM,
            ),
            _variant("without-conformity", conformity_weight=0.0),
            _variant("without-curriculum", decay=1.0),
            *(
                _variant(f"discrepancy-{name}", discrepancy=name)
                for name in ("l1", "l2", "none")
            ),
        ),
        notes=(
            "`dice` is the paper's, with dCor. Of the others the paper prints "
            "figures for `random` alone, in its table 3.",
        ),
        maps=("dice", "without-conformity"),
    ),
    Table(
        "dice-figure8a",
        "DICE with its curriculum and without, over the first alpha",
        "Zheng et al., DICE, WWW 2021, figure 8(a)",
        tuple(
            _variant(
                f"{line}-{alpha:g}",
                line,
                interest_weight=alpha,
                conformity_weight=alpha,
                decay=decay,
            )
            for line, decay in (("curriculum", 0.9), ("normal", 1.0))
            for alpha in _ALPHAS
        ),
        notes=(NO_NUMBERS, "The values of alpha are ours."),
        axis=Axis("interest_weight", "rows"),
    ),
    Table(
        "dice-figure8b",
        "DICE over the share of intervened training data",
        "Zheng et al., DICE, WWW 2021, figure 8(b)",
        unprinted(_rows("mf", "ips-cnsr", "cause", "dice")),
        notes=(NO_NUMBERS,),
        axis=Axis("intervened_training_fraction", "splits", rule="intervened"),
    ),
)
