"""Tables and figures of DCCL.

Reference: Zhao et al., Disentangled Causal Embedding With Contrastive Learning For
Recommender System, WWW 2023 Companion.
"""

from tfcausal.reports.rows import SLOTS, Axis, Row, Table
from tfcausal.reports.tables_shared import NO_NUMBERS, tuned, unprinted
from tfcausal.schema.dataset import TRAIN_INTERVENED

_CONTRASTS = ("interest_weight", "conformity_weight")
_DATA = ("Yelp", "Short-video")


def _published(*percents: float) -> dict[str, dict[str, float]]:
    """Returns HR and NDCG of both data sets, which the paper prints in percent."""
    shares = [round(percent / 100, 5) for percent in percents]
    return {
        data: dict(zip(("hr@20", "ndcg@20"), shares[start : start + 2], strict=True))
        for data, start in zip(_DATA, (0, 2), strict=True)
    }


_FIGURES = {
    "mf": {
        "none": _published(5.070, 1.951, 2.613, 1.018),
        "cause": _published(5.072, 1.973, 2.629, 1.021),
        "ips": _published(4.822, 1.917, 2.235, 0.879),
        "dice": _published(5.172, 2.044, 2.645, 1.034),
        "pd": _published(5.183, 2.062, 2.754, 1.076),
        "macr": _published(5.224, 2.104, 2.867, 1.137),
        "dccl-without-ipcl": _published(5.431, 2.143, 3.202, 1.241),
        "dccl-without-cpcl": _published(5.607, 2.216, 3.489, 1.343),
        "dccl": _published(6.171, 2.415, 3.783, 1.463),
    },
    "lightgcn": {
        "none": _published(5.944, 2.372, 3.727, 1.476),
        "cause": _published(5.958, 2.352, 3.827, 1.502),
        "ips": _published(5.781, 2.304, 3.606, 1.421),
        "dice": _published(6.375, 2.498, 4.064, 1.603),
        "pd": _published(6.451, 2.514, 4.106, 1.609),
        "macr": _published(6.573, 2.552, 4.142, 1.613),
        "dccl-without-ipcl": _published(6.717, 2.672, 4.151, 1.626),
        "dccl-without-cpcl": _published(6.821, 2.705, 4.311, 1.653),
        "dccl": _published(7.254, 2.816, 4.613, 1.713),
    },
}

_OF_FIGURE_4 = ("mf", "ips-cn", "cause", "pd", "macr", "dice", "dccl")


def _rows(backbone: str) -> tuple[Row, ...]:
    """Returns one half of DCCL's table 2: 64 coordinates in all, BPR throughout."""
    figures = _FIGURES[backbone]
    whole = {"embedding_dim": 64, "backbone": backbone}
    halves = {"embedding_dim": 32, "backbone": backbone}
    rate = tuned(1e-3)

    def name(method: str) -> str:
        return method if backbone == "mf" else f"{backbone}-{method}"

    return (
        Row(backbone, "mf", whole, rate, figures["none"]),
        Row(name("ips-cn"), "ips", {**whole, "form": "ips_cn"}, rate, figures["ips"]),
        Row(
            name("cause"),
            "cause",
            {**whole, "main_loss": "bpr"},
            rate,
            figures["cause"],
            TRAIN_INTERVENED,
        ),
        Row(
            name("pd"),
            "pd",
            whole,
            tuned(1e-3, gamma=(0.02, 0.05, 0.1, 0.2)),
            figures["pd"],
            SLOTS,
            {"popularity": "global"},
        ),
        Row(
            name("pda"),
            "pd",
            {**whole, "adjusted": True},
            tuned(1e-3, gamma=(0.16, 0.22, 0.1, 0.05)),
            {},
            SLOTS,
            {"popularity": "global"},
        ),
        Row(
            name("macr"),
            "macr",
            {**whole, "main_loss": "bpr"},
            tuned(1e-3, reference_score=(40.0, 20.0, 10.0, 5.0, 0.0)),
            figures["macr"],
        ),
        Row(name("dice"), "dice", halves, rate, figures["dice"]),
        *(
            Row(
                name(of),
                "dccl",
                {**halves, **dict.fromkeys(without, 0.0)},
                tuned(
                    1e-3,
                    contrast_temperature=(1.0, 0.2),
                    **{one: (0.1, 1.0) for one in _CONTRASTS if one not in without},
                ),
                figures[of],
            )
            for of, without in (
                ("dccl-without-ipcl", ("interest_weight",)),
                ("dccl-without-cpcl", ("conformity_weight",)),
                ("dccl", ()),
            )
        ),
    )


DCCL_TABLES = (
    Table(
        "dccl-table2",
        "DCCL and its baselines, on matrix factorisation and LightGCN",
        "Zhao et al., DCCL, WWW 2023 Companion, table 2",
        (*_rows("mf"), *_rows("lightgcn")),
        protocol="dccl",
        notes=(
            "The paper does not say which form of IPS it has; beside IPS-CN stand "
            "its figures for IPS. PDA is not in its table.",
        ),
    ),
    Table(
        "dccl-figure4",
        "DCCL and its baselines, where fewer of the test rows are of popular items",
        "Zhao et al., DCCL, WWW 2023 Companion, figure 4",
        unprinted(tuple(row for row in _rows("mf") if row.name in _OF_FIGURE_4)),
        protocol="dccl",
        notes=(NO_NUMBERS,),
        axis=Axis(
            "popular_shares",
            "parts",
            metrics=("hr@20", "ndcg@20"),
            rule="popular_share",
        ),
    ),
)
