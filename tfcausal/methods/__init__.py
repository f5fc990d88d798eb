"""One file a paper; importing this package registers every method."""

from tfcausal.methods import (
    bias,
    cause,
    causerec,
    comirec,
    dccl,
    dice,
    gru4rec,
    ips,
    macr,
    mf,
    mind,
    pd,
    two_tower,
    youtube_dnn,
)
from tfcausal.methods.base import Method
from tfcausal.methods.options import MethodOptions
from tfcausal.methods.registry import get, names, register
from tfcausal.methods.triplets import TripletBatch

__all__ = [
    "Method",
    "MethodOptions",
    "TripletBatch",
    "bias",
    "cause",
    "causerec",
    "comirec",
    "dccl",
    "dice",
    "get",
    "gru4rec",
    "ips",
    "macr",
    "mf",
    "mind",
    "names",
    "pd",
    "register",
    "two_tower",
    "youtube_dnn",
]
