"""Signatures against plain Python, at every scale, and what they refuse."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.runs import random_vectors
from tfcausal.evaluation.ranking import ItemLists
from tfcausal.schema.vectors import CausalVectors
from tfcausal.serving.examples import serialized
from tfcausal.serving.signatures import ServingModel

NUM_USERS, NUM_ITEMS = 7, 90
Signatures = Mapping[str, Callable[..., Any]]
PRESETS = {
    "interest_only": {"interest": 1.0, "conformity": 0.0},
    "reversed": {"interest": -1.0, "conformity": -1.0},
}
POPULARITY = np.random.default_rng(5).integers(0, 30, NUM_ITEMS)
SEEN = {user: set(range(user, NUM_ITEMS, user + 1)) for user in range(1, NUM_USERS)}


def item(index: int) -> str:
    return f"i{index}" if index else ""


def serving_model(tmp_path: Path, vectors: CausalVectors) -> ServingModel:
    for name, size in (("u", NUM_USERS), ("i", NUM_ITEMS)):
        lines = [f"{name}{index}\n" for index in range(1, size)]
        (tmp_path / name).write_text("".join(lines))
    rows = [sorted(SEEN.get(user, ())) for user in range(NUM_USERS)]
    return ServingModel(
        vectors,
        users=tmp_path / "u",
        items=tmp_path / "i",
        seen=ItemLists(
            np.cumsum([0, *map(len, rows)]),
            np.asarray([one for row in rows for one in row], np.int32),
        ),
        popularity=POPULARITY,
        known=np.arange(NUM_USERS) > 0,
        presets=PRESETS,
        k=5,
    )


def serve(tmp_path: Path, vectors: CausalVectors) -> Signatures:
    model = serving_model(tmp_path, vectors)
    return {
        name: lambda __signature=signature, **inputs: {
            key: value.numpy() for key, value in __signature(**inputs).items()
        }
        for name, signature in model.signatures().items()
    }


@pytest.fixture(scope="module")
def vectors() -> CausalVectors:
    return random_vectors(NUM_USERS, NUM_ITEMS, num_queries=2)


@pytest.fixture(scope="module")
def signatures(
    tmp_path_factory: pytest.TempPathFactory, vectors: CausalVectors
) -> Signatures:
    return serve(tmp_path_factory.mktemp("ids"), vectors)


def request(users: list[Any], **changed: Any) -> dict[str, tf.Tensor]:
    ones = tf.ones([len(users)])
    inputs = {
        "user_id": tf.constant(users, tf.string),
        "k": tf.constant(5),
        "do": tf.fill([len(users)], ""),
        "interest_weight": ones,
        "conformity_weight": ones,
        "exclude_item_id": tf.fill([len(users), 1], ""),
        "allow_item_id": tf.fill([len(users), 1], ""),
        "exclude_seen": tf.constant(True),
    }
    return inputs | {name: tf.constant(value) for name, value in changed.items()}


def terms(
    vectors: CausalVectors, user: int, index: int, weights: Mapping[str, float]
) -> dict[str, float]:
    """Weighted terms of the best query, by plain sums."""
    if not user:
        return dict.fromkeys(vectors.causes, 0.0)
    options = []
    for query in vectors.queries[user].astype(float):
        products = query * vectors.candidates[index].astype(float)
        options.append(
            {
                c: float(products[p].sum()) * weights[c]
                for c, p in vectors.causes.items()
            }
        )
    return max(options, key=lambda option: sum(option.values()))


def score(
    vectors: CausalVectors, user: int, index: int, weights: Mapping[str, float]
) -> float:
    if not user:
        return float(POPULARITY[index])
    return sum(terms(vectors, user, index, weights).values())


@pytest.mark.parametrize("scale", [1.0, 1e6, 1e30])
@pytest.mark.parametrize("num_queries", [1, 3])
@pytest.mark.parametrize("exclude_seen", [True, False])
def test_recommend_is_exact_search(
    tmp_path: Path, scale: float, num_queries: int, exclude_seen: bool
) -> None:
    vectors = random_vectors(NUM_USERS, NUM_ITEMS, num_queries=num_queries, scale=scale)
    users = [1, 3, 0, 6]
    weights = [(1.0, 1.0), (0.5, 0.0), (2.0, 1.0), (-1.0, 2.0)]
    excluded = [["i2", "i3", "?"], ["", "i4", "i4"], ["i1", "", ""], [""] * 3]
    found = serve(tmp_path, vectors)["recommend"](
        **request(
            [f"u{user}" for user in users],
            k=40,
            interest_weight=[interest for interest, _ in weights],
            conformity_weight=[conformity for _, conformity in weights],
            exclude_item_id=excluded,
            exclude_seen=exclude_seen,
        )
    )
    assert found["known_user"].tolist() == [True, True, False, True]
    for row, user in enumerate(users):
        weight = dict(zip(vectors.causes, weights[row], strict=True))
        hidden = {int(name[1:]) for name in excluded[row] if name[1:]}
        hidden |= SEEN.get(user, set()) if exclude_seen else set()
        allowed = [index for index in range(1, NUM_ITEMS) if index not in hidden]
        scores = {index: score(vectors, user, index, weight) for index in allowed}
        order = sorted(allowed, key=lambda index: (-scores[index], index))[:40]
        length = len(order)
        assert found["count"][row] == length
        padded = [item(index) for index in order] + [""] * (40 - length)
        assert [name.decode() for name in found["item_id"][row]] == padded
        size = max(abs(value) for value in scores.values())
        np.testing.assert_allclose(
            found["score"][row, :length],
            [scores[index] for index in order],
            atol=1e-5 * size,
        )
        assert not found["score"][row, length:].any()
        for cause in vectors.causes:
            expected = [terms(vectors, user, index, weight)[cause] for index in order]
            part = found[f"score_{cause}"][row]
            np.testing.assert_allclose(part[:length], expected, atol=1e-5 * size)
            assert not part[length:].any()


def test_default_leaves_seen_items_out(signatures: Signatures) -> None:
    usual = signatures["serving_default"](user_id=tf.constant(["u2", "nobody"]))
    same = signatures["recommend"](**request(["u2", "nobody"]))
    assert usual["item_id"].tolist() == same["item_id"].tolist()
    assert usual["score"].tolist() == same["score"].tolist()
    assert not {name.decode() for name in usual["item_id"][0]} & {
        item(index) for index in SEEN[2]
    }


def test_explains_what_it_recommends(signatures: Signatures) -> None:
    listed = signatures["recommend"](**request(["u4"]))
    explained = signatures["explain"](
        user_id=tf.constant(["u4"] * 5), item_id=tf.constant(listed["item_id"][0])
    )
    for name in ("score", "score_interest", "score_conformity"):
        np.testing.assert_allclose(explained[name], listed[name][0], rtol=1e-5)
    total = explained["score_interest"] + explained["score_conformity"]
    np.testing.assert_allclose(total, explained["score"], rtol=1e-5)


def test_embeddings_are_the_vectors(
    signatures: Signatures, vectors: CausalVectors
) -> None:
    user = signatures["user_embedding"](user_id=tf.constant(["u3", "nobody"]))
    np.testing.assert_array_equal(user["embedding"], vectors.queries[[3, 0]])
    assert user["known_user"].tolist() == [True, False]
    found = signatures["item_embedding"](item_id=tf.constant(["i89", "i1"]))
    np.testing.assert_array_equal(found["embedding"], vectors.candidates[[89, 1]])


def test_k_beyond_the_catalogue_gives_what_there_is(signatures: Signatures) -> None:
    recommend = signatures["recommend"]
    found = recommend(**request(["u1", "nobody"], k=2**31 - 1))
    assert found["item_id"].shape == (2, NUM_ITEMS - 1)
    assert found["count"].tolist() == [NUM_ITEMS - 1 - len(SEEN[1]), NUM_ITEMS - 1]


def test_everything_excluded_gives_nothing(signatures: Signatures) -> None:
    recommend = signatures["recommend"]
    names = [item(index) for index in range(1, NUM_ITEMS)]
    found = recommend(**request(["u1", "?"], exclude_item_id=[names, names]))
    assert found["count"].tolist() == [0, 0]
    assert set(found["item_id"].ravel().tolist()) == {b""}
    assert not found["score"].any()


def test_bytes_that_are_no_text_are_an_unknown_user(signatures: Signatures) -> None:
    recommend = signatures["recommend"]
    found = recommend(
        **request([b"\xff\xfe", b"", b"u1\x00"], exclude_item_id=[[b"\xff"]] * 3)
    )
    assert not found["known_user"].any()
    best = int(np.argmax(POPULARITY[1:])) + 1
    assert found["item_id"][:, 0].tolist() == [item(best).encode()] * 3


def test_lists_are_made_of_allowed_items(signatures: Signatures) -> None:
    allowed = [["i3", "i77", "i4"], ["", "", ""], ["?", "", ""], ["i5", "i6", "i5"]]
    users = ["u1", "u2", "u3", "nobody"]
    found = signatures["recommend"](
        **request(users, allow_item_id=allowed, exclude_seen=False)
    )
    assert found["count"].tolist() == [3, 5, 0, 2]
    assert set(found["item_id"][0].tolist()) == {b"i3", b"i77", b"i4", b""}
    free = signatures["recommend"](**request(["u2"], exclude_seen=False))
    assert found["item_id"][1].tolist() == free["item_id"][0].tolist()
    assert set(found["item_id"][2].tolist()) == {b""}
    better = max((5, 6), key=lambda index: POPULARITY[index])
    assert found["item_id"][3, 0] == item(better).encode()
    explained = signatures["explain"](
        user_id=tf.constant(["u1"] * 3), item_id=tf.constant(found["item_id"][0, :3])
    )
    np.testing.assert_allclose(found["score"][0, :3], explained["score"], rtol=1e-5)


def test_what_is_allowed_may_still_be_excluded(signatures: Signatures) -> None:
    names = [item(index) for index in range(1, NUM_ITEMS)]
    found = signatures["recommend"](
        **request(["u1"], allow_item_id=[names], exclude_item_id=[names[:-2]])
    )
    left = {name for name in names[-2:] if int(name[1:]) not in SEEN[1]}
    assert {one.decode() for one in found["item_id"][0]} - {""} == left


def test_presets_stand_for_weights_and_multiply_with_them(
    signatures: Signatures,
) -> None:
    recommend, users = signatures["recommend"], ["u1", "u2", "u3"]
    by_name = recommend(**request(users, do=["interest_only", "", "reversed"]))
    by_weight = recommend(
        **request(
            users,
            interest_weight=[1.0, 1.0, -1.0],
            conformity_weight=[0.0, 1.0, -1.0],
        )
    )
    for name, values in by_name.items():
        np.testing.assert_array_equal(values, by_weight[name])
    twice = recommend(**request(users, do=["reversed"] * 3, interest_weight=[-2.0] * 3))
    doubled = recommend(
        **request(users, interest_weight=[2.0] * 3, conformity_weight=[-1.0] * 3)
    )
    np.testing.assert_array_equal(twice["item_id"], doubled["item_id"])


def example(**features: Any) -> bytes:
    return serialized(features)


def test_examples_ask_what_named_inputs_do(signatures: Signatures) -> None:
    found = signatures["recommend_examples"](
        examples=tf.constant(
            [
                example(user_id="u1"),
                example(user_id="u2", k=3, conformity_weight=0.5, exclude_seen=0),
                example(user_id="u3", do="interest_only", exclude_item_id=["i2", "?"]),
                example(user_id="nobody", k=7, allow_item_id=["i1", "i2"]),
            ]
        )
    )
    assert found["item_id"].shape == (4, 7)
    asked: list[dict[str, Any]] = [
        {},
        {"k": 3, "conformity_weight": [0.5], "exclude_seen": False},
        {"do": ["interest_only"], "exclude_item_id": [["i2", "?"]]},
        {"k": 7, "allow_item_id": [["i1", "i2"]]},
    ]
    for row, (user, changed) in enumerate(
        zip(["u1", "u2", "u3", "nobody"], asked, strict=True)
    ):
        alone = signatures["recommend"](**request([user], **changed))
        length = alone["item_id"].shape[1]
        assert found["count"][row] == alone["count"][0]
        assert found["known_user"][row] == alone["known_user"][0]
        for name in ("item_id", "score", "score_interest", "score_conformity"):
            np.testing.assert_array_equal(found[name][row, :length], alone[name][0])
        assert set(found["item_id"][row, length:].tolist()) <= {b""}
        assert not found["score"][row, length:].any()


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([b"no example"], "Could not parse"),
        ([example(k=3)], "user_id.*is required"),
        ([example(user_id=3)], "user_id"),
        ([example(user_id="u1", k=0)], "`k` must be at least 1"),
        ([example(user_id="u1", k=-(2**40))], "`k` must be at least 1"),
        ([example(user_id="u1", do="nothing")], "`do` must be one of"),
        ([example(user_id="u1", interest_weight=np.nan)], "must be finite"),
    ],
)
def test_refuses_examples(
    signatures: Signatures, examples: list[bytes], message: str
) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        signatures["recommend_examples"](examples=tf.constant(examples))


def test_an_empty_batch_gives_empty_lists(signatures: Signatures) -> None:
    nobody = tf.constant([], tf.string)
    found = signatures["recommend"](
        **request([], exclude_item_id=np.zeros((0, 0), object).astype(bytes))
    )
    assert found["item_id"].shape == (0, 5)
    examples = signatures["recommend_examples"](examples=nobody)
    assert examples["count"].shape == (0,)
    assert signatures["serving_default"](user_id=nobody)["score"].shape == (0, 5)
    assert signatures["explain"](user_id=nobody, item_id=nobody)["score"].shape == (0,)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"k": 0}, "`k` must be at least 1"),
        ({"k": -1}, "`k` must be at least 1"),
        ({"interest_weight": [1.0, np.nan]}, "`interest_weight` must be finite"),
        ({"conformity_weight": [np.inf, 1.0]}, "`conformity_weight` must be finite"),
        ({"interest_weight": [3e38, 1.0]}, "Scores must stay finite"),
        ({"interest_weight": [1.0]}, "`interest_weight` must have a row for each"),
        ({"exclude_item_id": [["i1"]]}, "`exclude_item_id` must have a row for each"),
        ({"allow_item_id": [["i1"]]}, "`allow_item_id` must have a row for each"),
        ({"do": ["", "what"]}, "`do` must be one of .*interest_only.*what"),
        ({"do": [""]}, "`do` must have a row for each"),
    ],
)
def test_refuses(signatures: Signatures, changed: dict[str, Any], message: str) -> None:
    recommend = signatures["recommend"]
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        recommend(**request(["u1", "u2"], **changed))


def test_refuses_unknown_items_by_name(signatures: Signatures) -> None:
    items = tf.constant(["i1", "no such item"])
    with pytest.raises(tf.errors.InvalidArgumentError, match="no such item"):
        signatures["item_embedding"](item_id=items)
    with pytest.raises(tf.errors.InvalidArgumentError, match="no such item"):
        signatures["explain"](user_id=tf.constant(["u1", "u2"]), item_id=items)


def operations_on(
    nodes: Any, names: set[str], functions: Mapping[str, Any]
) -> set[str]:
    """Returns the operations that take one of the inputs named, in functions too."""
    found = set()
    for node in nodes:
        for place, text in enumerate(node.input):
            if text.split(":")[0] not in names:
                continue
            found.add(node.op)
            for name in (one.func.name for one in node.attr.values() if one.func.name):
                arguments = functions[name].signature.input_arg
                # A branch does not have the condition, which stands first.
                at = place - (node.op in ("If", "StatelessIf"))
                inner = {arguments[at].name}
                found |= operations_on(functions[name].node_def, inner, functions)
    return found


def test_items_are_never_gathered_from_the_variable_itself(
    vectors: CausalVectors, tmp_path: Path
) -> None:
    # Once they are, TensorFlow copies the whole variable at each of its reads.
    model = serving_model(tmp_path, vectors)
    reads = set()
    for signature in model.signatures().values():
        graph = signature.graph
        inner = [
            inner.op.name
            for outer, inner in graph.captures
            if outer is model.candidates.handle
        ]
        definition = graph.as_graph_def()
        functions = {one.signature.name: one for one in definition.library.function}
        reads |= operations_on(definition.node, set(inner), functions)
    assert "ReadVariableOp" in reads
    assert "ResourceGather" not in reads
