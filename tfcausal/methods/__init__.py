"""One file a paper; importing this package registers every method."""

from tfcausal.methods import dice, mf
from tfcausal.methods.base import Method, MethodOptions, TripletBatch
from tfcausal.methods.registry import get, names, register

__all__ = [
    "Method",
    "MethodOptions",
    "TripletBatch",
    "dice",
    "get",
    "mf",
    "names",
    "register",
]
