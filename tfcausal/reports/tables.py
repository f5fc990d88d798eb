"""The tables and figures to reproduce, as data: rows, what is tuned, what is printed.

Nothing here needs TensorFlow, so that `--help` and `--list` answer at once.
"""

from collections.abc import Mapping

from tfcausal.errors import unknown_name
from tfcausal.reports.rows import Row, Table
from tfcausal.reports.tables_causerec import CAUSEREC_TABLES
from tfcausal.reports.tables_dccl import DCCL_TABLES
from tfcausal.reports.tables_dice import DICE_TABLES
from tfcausal.reports.tables_shared import tuned


def table(name: str) -> Table:
    """Returns a table.

    Raises:
        InputError: If there is none of that name.
    """
    if name not in TABLES:
        raise unknown_name("table", name, TABLES)
    return TABLES[name]


_SOFTMAX = {"click_loss": "softmax", "similarity": "cosine", "embedding_dim": 64}
_LOG_Q = (1.0, 0.5)
_TEMPERED = tuned(1e-3, temperature=(0.1, 0.05, 0.2), log_q=_LOG_Q)
_CONTRAST_TEMPERATURES = (0.2, 0.1, 0.5)
_STRONG_CONTRASTS = {
    "embedding_dim": 64,
    "interest_weight": 1.0,
    "conformity_weight": 1.0,
}
_INDUSTRY = Table(
    "industry",
    "Two towers with in-batch softmax, and the same with causes",
    "",
    (
        Row(
            "two_tower",
            "two_tower",
            {"similarity": "cosine", "embedding_dim": 128},
            _TEMPERED,
        ),
        Row(
            "two_tower-product",
            "two_tower",
            {"similarity": "product", "embedding_dim": 128},
            tuned(1e-3, temperature=(1.0, 0.5, 2.0), log_q=_LOG_Q),
        ),
        Row("dice", "dice", _SOFTMAX, _TEMPERED),
        Row("dccl", "dccl", _SOFTMAX, _TEMPERED),
        Row(
            "dccl-bpr",
            "dccl",
            _STRONG_CONTRASTS,
            tuned(1e-3, contrast_temperature=_CONTRAST_TEMPERATURES),
        ),
        Row(
            "dccl-interest",
            "dccl",
            {"embedding_dim": 112, "conformity_dim": 16, "conformity_weight": 0.0},
            tuned(
                1e-2,
                interest_weight=(2.0, 1.0, 4.0),
                contrast_temperature=_CONTRAST_TEMPERATURES,
            ),
        ),
    ),
    calibrated=True,
)

TABLES: Mapping[str, Table] = {
    one.name: one for one in (*DICE_TABLES, *DCCL_TABLES, *CAUSEREC_TABLES, _INDUSTRY)
}
"""All tables and figures by name."""
