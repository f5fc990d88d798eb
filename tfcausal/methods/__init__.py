"""One file a paper; importing this package registers every method."""

from tfcausal.methods import bias, cause, dccl, dice, ips, macr, mf, pd, two_tower
from tfcausal.methods.base import Method, TripletBatch
from tfcausal.methods.options import MethodOptions
from tfcausal.methods.registry import get, names, register

__all__ = [
    "Method",
    "MethodOptions",
    "TripletBatch",
    "bias",
    "cause",
    "dccl",
    "dice",
    "get",
    "ips",
    "macr",
    "mf",
    "names",
    "pd",
    "register",
    "two_tower",
]
