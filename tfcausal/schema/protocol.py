"""Evaluation protocols as data: five papers, five presets, never merged into one.

A protocol's hash goes with every result, so that figures of different protocols cannot
be taken for each other.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal

from tfcausal.errors import InputError, unknown_name
from tfcausal.schema.dataset import FOLD_IN_PARTS, TRAINING_PARTS


@dataclass(frozen=True)
class EvaluationProtocol:
    """How ranked lists are made and averaged.

    Attributes:
        name: Name of the preset.
        candidates: "all" ranks the whole catalogue, "observed" only what the user has
            in the evaluated part.
        mask: Parts of the split whose items are left out of a user's list.
        recall_denominator: "positives" divides hits by the user's positives,
            "min_k_positives" by at most k of them.
        ndcg_ideal: What DCG is divided by: the best of "min_k_positives" places, or of
            as many places as there are "hits".
        users: "with_positives" averages over users with a positive in the part, "all"
            counts the others of the vocabulary as 0.
        average_over: "users", or "interactions": one list for each test row, with this
            row as its only positive.
        ks: Cut-offs, increasing.
        legacy_ndcg: Whether to add legacy_ndcg@k, which discounts a hit by its place
            among its user's positives in the order of their rows, not by its rank.
    """

    name: str
    candidates: Literal["all", "observed"] = "all"
    mask: tuple[str, ...] = TRAINING_PARTS
    recall_denominator: Literal["positives", "min_k_positives"] = "positives"
    ndcg_ideal: Literal["min_k_positives", "hits"] = "min_k_positives"
    users: Literal["all", "with_positives"] = "with_positives"
    average_over: Literal["users", "interactions"] = "users"
    ks: tuple[int, ...] = (20, 50)
    legacy_ndcg: bool = False

    def __post_init__(self) -> None:
        if not self.ks or list(self.ks) != sorted(set(self.ks)) or self.ks[0] < 1:
            raise InputError(
                f"`ks` must be positive and increasing; got {self.ks}. Sort it, "
                "such as ks=(20, 50)."
            )
        if self.legacy_ndcg and self.average_over != "users":
            raise InputError(
                f"`average_over` must be users with legacy_ndcg; got "
                f"{self.average_over}, whose lists have one positive each. Set "
                "legacy_ndcg=False."
            )

    @property
    def hash(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of all switches."""
        switches = asdict(self)
        # Results from before there was this switch keep their hash.
        if not self.legacy_ndcg:
            del switches["legacy_ndcg"]
        text = json.dumps(switches, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


_PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        # Zheng et al., WWW 2021. The authors' code averages over all users, those
        # without a test item counting as 0; `users="all"` does that.
        EvaluationProtocol("dice"),
        # Zhao et al. (DCCL): each test row by itself, history not masked.
        EvaluationProtocol(
            "dccl",
            mask=(),
            average_over="interactions",
            ks=(20, 50, 100),
        ),
        # Zhang et al. (CauseRec), on ComiRec's evaluation: history not masked. The
        # paper's NDCG is almost surely the legacy one, that of ComiRec's first code.
        # Its later code ranks hits but has `ndcg_ideal="hits"`.
        EvaluationProtocol("causerec", mask=(), legacy_ndcg=True),
        # He et al. (DCR): only what the user was shown is ranked.
        EvaluationProtocol(
            "dcr",
            candidates="observed",
            mask=(),
            recall_denominator="min_k_positives",
            ks=(1, 3, 5),
        ),
        # CaD-VAE, on MacridVAE's evaluation: the fold-in part is masked.
        EvaluationProtocol(
            "cadvae",
            mask=(*TRAINING_PARTS, *FOLD_IN_PARTS.values()),
            recall_denominator="min_k_positives",
            ks=(20, 50, 100),
        ),
    )
}


def protocol(name: str) -> EvaluationProtocol:
    """Returns a preset.

    Raises:
        InputError: If there is none of that name.
    """
    if name not in _PROTOCOLS:
        raise unknown_name("protocol", name, _PROTOCOLS)
    return _PROTOCOLS[name]


def protocol_names() -> list[str]:
    """Returns the names of all presets, sorted."""
    return sorted(_PROTOCOLS)
