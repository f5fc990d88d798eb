"""Compares a SavedModel with stored answers.

    python -I check_saved_model.py MODEL CASES [MODULE ...]

A script of its own, which must import TensorFlow and numpy only, and a MODULE that
brings operations: it stands for the servers that know nothing of this library. CASES is
JSON, a list of

    {"signature": name, "inputs": {name: values}, "expected": {name: values}}

in which {"b64": text} stands for bytes, and `item_id` among the expected lists more
places than are served: an item is right if its score is, and equal scores may come in
another order. Exits with 1 and one line about the first difference.
"""

import base64
import importlib
import json
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

_TOLERANCE = 1e-4


class DifferenceError(Exception):
    """An answer is not the stored one."""


def check(model: Any, case: Mapping[str, Any]) -> None:
    """Calls one signature and compares all that it returns.

    Args:
        model: A loaded SavedModel.
        case: A case as described above.
    Raises:
        DifferenceError: If an answer differs.
    """
    signature = model.signatures[case["signature"]]
    specs = signature.structured_input_signature[1]
    if sorted(specs) != sorted(case["inputs"]):
        raise DifferenceError(f"takes {sorted(specs)}, not {sorted(case['inputs'])}")
    answers = signature(
        **{
            name: tf.constant(values, specs[name].dtype)
            for name, values in case["inputs"].items()
        }
    )
    found = {name: value.numpy() for name, value in answers.items()}
    expected = {name: np.asarray(values) for name, values in case["expected"].items()}
    if sorted(found) != sorted(expected):
        raise DifferenceError(f"returns {sorted(found)}, not {sorted(expected)}")
    if "item_id" in expected:
        for row in range(len(expected["item_id"])):
            _check_list(
                {name: value[row] for name, value in found.items()},
                {name: value[row] for name, value in expected.items()},
                row,
            )
        return
    for name, value in expected.items():
        scale = float(np.abs(value).max(initial=0.0))
        _check_close(found[name], value, scale, name)


def _decoded(value: dict[str, Any]) -> Any:
    return base64.b64decode(value["b64"]) if value.keys() == {"b64"} else value


def _check_list(
    found: Mapping[str, Any], expected: Mapping[str, Any], row: int
) -> None:
    """Compares one user's list."""
    per_item = [name for name in expected if name.startswith("score")]
    for name in ("count", "known_user", "known_history"):
        if name in expected and found[name] != expected[name]:
            raise DifferenceError(
                f"{name}[{row}] is {found[name]}, not {expected[name]}"
            )
    served = [item.decode() for item in found["item_id"]]
    places = {item: place for place, item in enumerate(expected["item_id"]) if item}
    length = len(served)
    scale = max(float(np.abs(expected[name]).max(initial=0.0)) for name in per_item)
    _check_close(
        found["score"], expected["score"][:length], scale, f"score of list {row}"
    )
    filled = [item for item in served if item]
    if len(set(filled)) != len(filled):
        raise DifferenceError(f"list {row} holds an item twice: {served}")
    for place, item in enumerate(served):
        wanted = expected["item_id"][place]
        if bool(item) != bool(wanted):
            raise DifferenceError(
                f"place {place} of list {row} is `{item}`, not `{wanted}`"
            )
        if not item:
            continue
        if item not in places:
            # As good as the last one stored, or worse than it should be.
            last = np.asarray([expected["score"][-1]])
            _check_close(found["score"][place : place + 1], last, scale, f"`{item}`")
            continue
        for name in per_item:
            value = expected[name][places[item] : places[item] + 1]
            _check_close(
                found[name][place : place + 1], value, scale, f"{name} of `{item}`"
            )


def _check_close(found: Any, expected: Any, scale: float, name: str) -> None:
    if found.shape != expected.shape:
        raise DifferenceError(f"{name} has shape {found.shape}, not {expected.shape}")
    gaps = np.abs(np.asarray(found, np.float64) - np.asarray(expected, np.float64))
    if not (gaps <= _TOLERANCE * scale).all():
        place = np.unravel_index(int(np.argmax(gaps)), gaps.shape)
        raise DifferenceError(f"{name} is {found[place]}, not {expected[place]}")


def main(model_path: str, cases_path: str, *modules: str) -> None:
    """Checks every case, then that every signature had one."""
    for module in modules:
        importlib.import_module(module)
    model = tf.saved_model.load(model_path)
    with open(cases_path, encoding="utf-8") as stream:
        cases = json.load(stream, object_hook=_decoded)
    for case in cases:
        try:
            check(model, case)
        except (DifferenceError, tf.errors.OpError) as difference:
            print(f"{case['signature']}: {difference}")
            sys.exit(1)
    unchecked = set(model.signatures) - {case["signature"] for case in cases}
    if unchecked:
        print(f"No case for {sorted(unchecked)}.")
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
