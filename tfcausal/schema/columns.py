"""Names and meanings of the columns that cross a room's border.

| column      | type    | meaning                                                     |
|-------------|---------|-------------------------------------------------------------|
| user        | int32   | row of the user vocabulary; 0 is the unknown user           |
| item        | int32   | row of the item vocabulary; 0 is the unknown item           |
| rating      | float32 | the rating as given, where the source has one               |
| timestamp   | int64   | seconds since 1970, where the source has one                |
| occurrence  | int32   | 0 for the first time a user meets an item, then 1, 2, ...;  |
|             |         | present only where repeats were kept                        |
| (others)    | float32 | labels and declared columns of the source, under their own  |
|             | or int64| names; NaN where a value was missing                        |
| user_id     | string  | a user as the outside names it (vocabulary)                 |
| item_id     | string  | an item as the outside names it (vocabulary)                |
| count       | int64   | interactions of that user or item in the data set           |
| popularity  | int64   | interactions of an item in the train window, never beyond   |
| history     | int32[] | the last items before a target, of fixed length, padded     |
|             |         | with item 0                                                 |
| length      | int32   | items of a history that are no padding                      |
| target      | int32   | the item that follows a history                             |
| node        | int32   | row of the user or of the item vocabulary in a graph        |
| neighbours  | int32[] | rows of the other vocabulary, ascending                     |
| values      | float[] | entries of a normalised adjacency, one for each neighbour   |
| degree      | int32   | number of neighbours                                        |
| value       | string  | a value of a concept, such as the name of a director; of a  |
|             |         | confounder a float64                                        |
| values      | int32[] | of concepts: rows of a concept's values, ascending          |
| counts      | int32[] | items of a user that have each of those                     |
| shares      | float[] | the same in normalised form                                 |
| described_  | int32   | items of a user that have a value of a concept              |
| items       |         |                                                             |
| day         | date32  | a day of UTC                                                |
| bin         | int32   | bin of a confounding feature; -1 where there is no value    |
| embedding   | float[] | a vector; of a user a list of them, one for each query      |
| known_user  | bool    | whether a model has learned of the user                     |
| seen        | int32[] | items that a model leaves out for a user, ascending         |
| score,      | float[] | of the items of a list: its score, and the term of each     |
| score_CAUSE |         | cause                                                       |
"""

from collections.abc import Iterable, Mapping

import pyarrow as pa

USER = "user"
ITEM = "item"
RATING = "rating"
TIMESTAMP = "timestamp"
OCCURRENCE = "occurrence"
USER_ID = "user_id"
ITEM_ID = "item_id"
COUNT = "count"
POPULARITY = "popularity"
POPULARITY_RANK = "popularity_rank"
POPULARITY_INTERVENED = "popularity_intervened"
POPULARITY_SHARE = "popularity_share"
POPULARITY_MIN_MAX = "popularity_min_max"
POPULARITY_PERCENTILE = "popularity_percentile"
POPULARITY_GROUP = "popularity_group"
POPULARITY_DECAYED = "popularity_decayed"
POPULARITY_BY_SLOT = "popularity_by_slot"
POPULARITY_MIN_MAX_BY_SLOT = "popularity_min_max_by_slot"
POPULARITY_NEXT_SLOT = "popularity_next_slot"
DAY = "day"
PROPENSITY = "propensity"
IPS = "ips"
IPS_C = "ips_c"
IPS_CN = "ips_cn"
IPS_CNSR = "ips_cnsr"
BIN = "bin"
LOWER = "lower"
UPPER = "upper"
VALUE = "value"
PROBABILITY = "probability"
LABEL_RATE = "label_rate"
PROPENSITY_POSITIVE = "propensity_positive"
PROPENSITY_NEGATIVE = "propensity_negative"
HISTORY = "history"
LENGTH = "length"
TARGET = "target"
NODE = "node"
NEIGHBOURS = "neighbours"
VALUES = "values"
DEGREE = "degree"
COUNTS = "counts"
SHARES = "shares"
DESCRIBED_ITEMS = "described_items"
EMBEDDING = "embedding"
KNOWN_USER = "known_user"
SEEN = "seen"
SCORE = "score"

UNKNOWN_INDEX = 0
"""Row 0 of every vocabulary: ids that the data set never saw."""
NO_BIN = -1
"""The bin of what has no value of a confounding feature."""

_TYPES: dict[str, pa.DataType] = {
    USER: pa.int32(),
    ITEM: pa.int32(),
    RATING: pa.float32(),
    TIMESTAMP: pa.int64(),
    OCCURRENCE: pa.int32(),
}


def interactions_schema(
    *,
    rating: bool = False,
    timestamp: bool = False,
    occurrence: bool = False,
    carried: Mapping[str, pa.DataType] | None = None,
) -> pa.Schema:
    """Returns the Arrow schema of indexed interactions with the optional columns.

    Args:
        rating: Whether there are ratings.
        timestamp: Whether there are times.
        occurrence: Whether repeats were kept.
        carried: Type of each label and declared column of the input.
    """
    optional = [(RATING, rating), (TIMESTAMP, timestamp), (OCCURRENCE, occurrence)]
    names = [USER, ITEM, *(name for name, present in optional if present)]
    types = {name: _TYPES[name] for name in names} | dict(carried or {})
    return pa.schema([pa.field(*field, nullable=False) for field in types.items()])


def vocabulary_schema(id_column: str) -> pa.Schema:
    """Returns the Arrow schema of a vocabulary: row order is the index."""
    return pa.schema(
        [
            pa.field(id_column, pa.string(), nullable=False),
            pa.field(COUNT, pa.int64(), nullable=False),
        ]
    )


def popularity_schema() -> pa.Schema:
    """Returns the Arrow schema of item popularity, a row for each item index.

    `popularity` counts the biased training part, `popularity_intervened` the training
    part drawn under intervention (all 0 without one), `popularity_rank` is 0 for the
    most popular item; ties go to the smaller index, the unknown item comes last.
    """
    return pa.schema(
        [
            pa.field(ITEM, pa.int32(), nullable=False),
            pa.field(POPULARITY, pa.int64(), nullable=False),
            pa.field(POPULARITY_INTERVENED, pa.int64(), nullable=False),
            pa.field(POPULARITY_RANK, pa.int32(), nullable=False),
        ]
    )


def normalised_popularity_schema(*, decayed: bool) -> pa.Schema:
    """Returns the Arrow schema of popularity in comparable forms, by item index.

    `popularity_share` is the share of all interactions; `popularity_min_max` lies in
    [0, 1] from the least to the most popular item; `popularity_percentile` is the
    percentage of items that are at most as popular; `popularity_group` is 0 for the
    most popular items, in groups of about equally many interactions.

    Args:
        decayed: Whether there is `popularity_decayed`, in which an interaction's weight
            halves with its age.
    """
    forms = [POPULARITY_SHARE, POPULARITY_MIN_MAX, POPULARITY_PERCENTILE]
    fields = [
        (ITEM, pa.int32()),
        *((name, pa.float64()) for name in forms),
        (POPULARITY_GROUP, pa.int32()),
    ]
    if decayed:
        fields.append((POPULARITY_DECAYED, pa.float64()))
    return _filled(fields)


def popularity_by_slot_schema(num_slots: int) -> pa.Schema:
    """Returns the Arrow schema of popularity in each time slot, by item index.

    `popularity_by_slot` counts, `popularity_min_max_by_slot` lies in [0, 1] within each
    slot, `popularity_next_slot` predicts the latter for the slot that follows.
    """
    return _filled(
        [
            (ITEM, pa.int32()),
            (POPULARITY_BY_SLOT, pa.list_(pa.int64(), num_slots)),
            (POPULARITY_MIN_MAX_BY_SLOT, pa.list_(pa.float64(), num_slots)),
            (POPULARITY_NEXT_SLOT, pa.float64()),
        ]
    )


def day_counts_schema() -> pa.Schema:
    """Returns the Arrow schema of interactions by day and item, ordered by them."""
    return _filled(
        [
            (DAY, pa.date32()),
            (ITEM_ID, pa.string()),
            (POPULARITY, pa.int64()),
            (POPULARITY_INTERVENED, pa.int64()),
        ]
    )


def propensity_schema(*, smoothed: bool) -> pa.Schema:
    """Returns the Arrow schema of propensities and inverse weights, by item index.

    Args:
        smoothed: Whether there is `ips_cnsr`.
    """
    forms = [PROPENSITY, IPS, IPS_C, IPS_CN, *([IPS_CNSR] if smoothed else [])]
    return _filled([(ITEM, pa.int32()), *((name, pa.float64()) for name in forms)])


def confounder_schema(*, labelled: bool) -> pa.Schema:
    """Returns the Arrow schema of the bins of a confounding feature.

    A bin has the values from `lower` to before `upper`, and the last one `upper` too;
    `probability` is its share of the training rows with a value, P(a).

    Args:
        labelled: Whether there are the rate of a label and the propensities of IPW.
    """
    weights = [LABEL_RATE, PROPENSITY_POSITIVE, PROPENSITY_NEGATIVE]
    return _filled(
        [
            (BIN, pa.int32()),
            (LOWER, pa.float64()),
            (UPPER, pa.float64()),
            (COUNT, pa.int64()),
            (PROBABILITY, pa.float64()),
            *((name, pa.float64()) for name in weights if labelled),
        ]
    )


def item_confounder_schema() -> pa.Schema:
    """Returns the Arrow schema of each item's value of a confounder, and its bin.

    Where an item has none, the value is NaN and the bin NO_BIN.
    """
    return _filled([(ITEM, pa.int32()), (VALUE, pa.float64()), (BIN, pa.int32())])


def _filled(fields: Iterable[tuple[str, pa.DataType]]) -> pa.Schema:
    return pa.schema([pa.field(*field, nullable=False) for field in fields])


def sequences_schema(max_length: int) -> pa.Schema:
    """Returns the Arrow schema of histories of `max_length` items and their targets."""
    return pa.schema(
        [
            pa.field(USER, pa.int32(), nullable=False),
            pa.field(HISTORY, pa.list_(pa.int32(), max_length), nullable=False),
            pa.field(LENGTH, pa.int32(), nullable=False),
            pa.field(TARGET, pa.int32(), nullable=False),
        ]
    )


def adjacency_schema() -> pa.Schema:
    """Returns the Arrow schema of rows of an adjacency matrix, a row for each node.

    The offsets, `neighbours` and `values` of the two lists are a CSR matrix.
    """
    return pa.schema(
        [
            pa.field(NODE, pa.int32(), nullable=False),
            pa.field(NEIGHBOURS, pa.list_(pa.int32()), nullable=False),
            pa.field(VALUES, pa.list_(pa.float32()), nullable=False),
        ]
    )


def concept_values_schema(*, binned: bool) -> pa.Schema:
    """Returns the Arrow schema of the values of a concept: row order is the index.

    `count` is the number of items that have the value; row 0 stands for all values too
    rare to have a row.

    Args:
        binned: Whether values are bins, from `lower` to before `upper` (the last one's
            `upper` too); NaN in row 0.
    """
    bounds = [(name, pa.float64()) for name in (LOWER, UPPER) if binned]
    return _filled([(VALUE, pa.string()), (COUNT, pa.int64()), *bounds])


def item_values_schema() -> pa.Schema:
    """Returns the Arrow schema of the values that each item has, by item index.

    The offsets and the elements of `values` are a CSR matrix of ones.
    """
    return _filled([(VALUES, pa.list_(pa.int32()))])


def user_shares_schema() -> pa.Schema:
    """Returns the Arrow schema of the values that the items of a user have.

    A row for each user. `values` ascend; `counts` has the user's items that have each,
    `shares` the same in normalised form.
    """
    return _filled(
        [
            (USER, pa.int32()),
            (DESCRIBED_ITEMS, pa.int32()),
            (VALUES, pa.list_(pa.int32())),
            (COUNTS, pa.list_(pa.int32())),
            (SHARES, pa.list_(pa.float32())),
        ]
    )


def item_vectors_schema(dim: int) -> pa.Schema:
    """Returns the Arrow schema of the items of an exported model, by item index.

    Args:
        dim: Coordinates of a vector.
    """
    return _filled(
        [
            (ITEM, pa.int32()),
            (ITEM_ID, pa.string()),
            (POPULARITY, pa.int64()),
            (EMBEDDING, _vector(dim)),
        ]
    )


def user_vectors_schema(dim: int, num_queries: int) -> pa.Schema:
    """Returns the Arrow schema of the users of an exported model, by user index.

    Args:
        dim: Coordinates of a vector.
        num_queries: Vectors of a user.
    """
    return _filled(
        [
            (USER, pa.int32()),
            (USER_ID, pa.string()),
            (KNOWN_USER, pa.bool_()),
            (EMBEDDING, pa.list_(_element(_vector(dim)), num_queries)),
            (SEEN, pa.list_(pa.int32())),
        ]
    )


def recommendations_schema(causes: Iterable[str]) -> pa.Schema:
    """Returns the Arrow schema of lists of items, a row for each user.

    `item_id` is best first, and each list of scores as long.

    Args:
        causes: Names of the causes, each with a list of its terms of the scores.
    """
    return _filled(
        [
            (USER_ID, pa.string()),
            (KNOWN_USER, pa.bool_()),
            (ITEM_ID, pa.list_(pa.string())),
            (SCORE, pa.list_(pa.float32())),
            *((score_column(cause), pa.list_(pa.float32())) for cause in causes),
        ]
    )


def score_column(cause: str) -> str:
    """Returns the name of the column that holds a cause's terms of scores."""
    return f"{SCORE}_{cause}"


def _vector(dim: int) -> pa.DataType:
    return pa.list_(_element(pa.float32()), dim)


def _element(kind: pa.DataType) -> pa.Field:
    # Lists of what is never null are read faster.
    return pa.field("element", kind, nullable=False)
