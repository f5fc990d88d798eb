"""Random requests to every signature for lists: an error that says why, or a list that
keeps what it promises."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfcausal.serving.examples import serialized
from tfcausal.serving.frozen_index import build_frozen_index
from tfcausal.serving.index import build_index
from tfcausal.serving.index_files import read_ids

CAUSES = ("interest", "conformity")
ODD_IDS = [b"", b"\xff\xfe", b"nobody", "ü".encode(), b"i1\x00", b"x" * 10_000]
WEIGHTS = [0.0, 1.0, -1.0, 2.5, 1e-30, 1e30, 3e38, np.nan, np.inf, -np.inf]
LENGTHS = [-(2**31), -1, 0, 1, 2, 10, 79, 80, 1000, 2**31 - 1]
PRESETS = ["", "as_trained", "interest_only", "unknown", "ÿ"]


@pytest.fixture(scope="module")
def model(exported: Path) -> Any:
    return tf.saved_model.load(str(exported))


@pytest.fixture(scope="module", params=["stock", "frozen"])
def signatures(
    request: pytest.FixtureRequest,
    exported: Path,
    model: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    """Returns the signatures of an export, or of its frozen index."""
    if request.param == "stock":
        return model.signatures
    pytest.importorskip("scann")
    version = tmp_path_factory.mktemp("models") / "dice" / "1"
    build_index(shutil.copytree(exported, version))
    return tf.saved_model.load(str(build_frozen_index(version))).signatures


@pytest.fixture(scope="module")
def items(exported: Path) -> list[bytes]:
    return [item.encode() for item in read_ids(exported / "assets" / "items.txt")]


@pytest.fixture(scope="module")
def users(exported: Path) -> list[bytes]:
    return [user.encode() for user in read_ids(exported / "assets" / "users.txt")]


class Requests:
    """Draws requests, most of whose parts are in order."""

    def __init__(self, seed: int, users: list[bytes], items: list[bytes]) -> None:
        self.rng = np.random.default_rng(seed)
        self.users = users
        self.items = items

    def usually(self, usual: Any, others: list[Any]) -> Any:
        odd = self.rng.random() < 0.1
        return others[self.rng.integers(len(others))] if odd else usual

    def some(self, pool: list[bytes], most: int) -> list[bytes]:
        count = self.rng.integers(0, most + 1)
        drawn = [pool[place] for place in self.rng.integers(0, len(pool), count)]
        return [self.usually(one, ODD_IDS) for one in drawn]

    def draw(self) -> dict[str, Any]:
        rows = int(self.rng.integers(0, 4))
        exclude, allow = (
            self.rectangle(
                [self.some(self.items, most) for _ in range(rows)],
            )
            for most in (self.usually(5, [200]), self.usually(0, [3, 100]))
        )
        return {
            "user_id": np.asarray(
                [
                    self.usually(
                        self.users[self.rng.integers(len(self.users))], ODD_IDS
                    )
                    for _ in range(rows)
                ],
                object,
            ),
            "k": np.int32(self.usually(int(self.rng.integers(1, 30)), LENGTHS)),
            "do": np.asarray([self.usually("", PRESETS) for _ in range(rows)], object),
            "exclude_item_id": exclude,
            "allow_item_id": allow,
            "exclude_seen": np.bool_(self.rng.random() < 0.5),
            **{
                f"{cause}_weight": np.asarray(
                    [self.usually(self.rng.normal(), WEIGHTS) for _ in range(rows)],
                    np.float32,
                )
                for cause in CAUSES
            },
        }

    @staticmethod
    def rectangle(rows: list[list[bytes]]) -> Any:
        width = max(map(len, rows), default=0)
        padded = np.full((len(rows), width), b"", object)
        for place, row in enumerate(rows):
            padded[place, : len(row)] = row
        return padded


def must_fail(request: dict[str, Any]) -> bool:
    """Returns whether an error is the only right answer."""
    weights = np.concatenate([request[f"{cause}_weight"] for cause in CAUSES])
    return bool(
        request["k"] < 1
        or not np.isfinite(weights).all()
        or not set(request["do"].tolist()) <= set(PRESETS[:3])
    )


def may_fail(request: dict[str, Any]) -> bool:
    """Returns whether an error is a right answer: scores may also grow too large."""
    weights = np.concatenate([request[f"{cause}_weight"] for cause in CAUSES])
    return must_fail(request) or bool(np.abs(weights).max(initial=0) > 1e25)


def assert_kept(
    found: dict[str, Any],
    request: dict[str, Any],
    items: list[bytes],
    seen: list[set[bytes]],
) -> None:
    rows = len(request["user_id"])
    width = min(int(request["k"]), len(items))
    assert found["item_id"].shape == found["score"].shape == (rows, width)
    assert np.isfinite(found["score"]).all()
    for row in range(rows):
        count = int(found["count"][row])
        listed = found["item_id"][row].tolist()
        assert set(listed[count:]) <= {b""}
        shown = listed[:count]
        assert len(set(shown)) == count
        assert set(shown) <= set(items)
        assert not set(shown) & set(request["exclude_item_id"][row].tolist())
        allowed = set(request["allow_item_id"][row].tolist()) - {b""}
        possible = (allowed or set(items)) & set(items)
        possible -= set(request["exclude_item_id"][row].tolist())
        if request["exclude_seen"]:
            possible -= seen[row]
        assert set(shown) <= possible
        assert count == min(width, len(possible))
        scores = found["score"][row, :count]
        assert (np.diff(scores) <= 0).all()


@pytest.mark.parametrize("seed", range(40))
def test_named_inputs(
    model: Any, signatures: Any, users: list[bytes], items: list[bytes], seed: int
) -> None:
    request = Requests(seed, users, items).draw()
    given = {name: tf.constant(value) for name, value in request.items()}
    if not len(request["user_id"]):
        given |= {
            name: tf.zeros(request[name].shape, tf.string)
            for name in ("user_id", "do", "exclude_item_id", "allow_item_id")
        }
    given |= {
        name: tf.reshape(tf.constant([], tf.string), request[name].shape)
        for name in ("exclude_item_id", "allow_item_id")
        if not request[name].size
    }
    try:
        answer = signatures["recommend"](**given)
    except tf.errors.InvalidArgumentError:
        if may_fail(request):
            return
        raise
    assert not must_fail(request)
    seen = [
        set(model.seen_item_ids(tf.constant(user)).numpy().tolist())
        for user in request["user_id"]
    ]
    found = {name: value.numpy() for name, value in answer.items()}
    assert_kept(found, request, items, seen)


@pytest.mark.parametrize("seed", range(40))
def test_bytes_that_are_examples_and_are_none(signatures: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    whole = serialized({"user_id": "u1", "k": 3, "interest_weight": 0.5})
    spoilt = bytearray(whole)
    for place in rng.integers(0, len(whole), rng.integers(1, 4)):
        spoilt[place] = rng.integers(0, 256)
    try:
        answer = signatures["recommend_examples"](
            examples=tf.constant([whole, bytes(spoilt)])
        )
    # TensorFlow's own message repeats the bytes, which may be no text.
    except (tf.errors.InvalidArgumentError, UnicodeDecodeError):
        return
    assert answer["count"].numpy()[0] == 3
    assert answer["item_id"].shape[0] == 2


def test_a_hundred_thousand_excluded_items(signatures: Any, items: list[bytes]) -> None:
    strangers = [f"other {place}".encode() for place in range(100_000 - len(items) + 1)]
    found = signatures["recommend"](
        user_id=tf.constant([b"u1", b"u2"]),
        k=tf.constant(10),
        do=tf.constant(["", ""]),
        exclude_item_id=tf.constant([items[1:] + strangers, strangers + items[:-1]]),
        allow_item_id=tf.constant([[""], [""]]),
        exclude_seen=tf.constant(False),
        **{f"{cause}_weight": tf.ones([2]) for cause in CAUSES},
    )
    lists = found["item_id"].numpy()
    assert found["count"].numpy().tolist() == [1, 1]
    assert lists[:, 0].tolist() == [items[0], items[-1]]
    assert set(lists[:, 1:].ravel().tolist()) == {b""}


@pytest.mark.parametrize(
    "wrong",
    [
        {"user_id": tf.constant([[b"u1"]])},
        {"user_id": tf.constant([1])},
        {"k": tf.constant([3])},
        {"k": tf.constant(3, tf.int64)},
        {"exclude_item_id": tf.constant([b"i1"])},
        {"interest_weight": tf.constant([1])},
        {"exclude_seen": tf.constant(1)},
    ],
)
def test_wrong_types_and_shapes_are_refused(
    signatures: Any, wrong: dict[str, tf.Tensor]
) -> None:
    right = {
        "user_id": tf.constant([b"u1"]),
        "k": tf.constant(3),
        "do": tf.constant([""]),
        "exclude_item_id": tf.constant([[""]]),
        "allow_item_id": tf.constant([[""]]),
        "exclude_seen": tf.constant(True),
        **{f"{cause}_weight": tf.ones([1]) for cause in CAUSES},
    }
    signatures["recommend"](**right)
    with pytest.raises((TypeError, ValueError, tf.errors.InvalidArgumentError)):
        signatures["recommend"](**(right | wrong))
