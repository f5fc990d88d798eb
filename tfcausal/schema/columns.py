"""Names and meanings of the columns that cross a room's border.

| column      | type    | meaning                                                     |
|-------------|---------|-------------------------------------------------------------|
| user        | int32   | row of the user vocabulary; 0 is the unknown user           |
| item        | int32   | row of the item vocabulary; 0 is the unknown item           |
| rating      | float32 | the rating as given, where the source has one               |
| timestamp   | int64   | seconds since 1970, where the source has one                |
| occurrence  | int32   | 0 for the first time a user meets an item, then 1, 2, ...;  |
|             |         | present only where repeats were kept                        |
| user_id     | string  | a user as the outside names it (vocabulary)                 |
| item_id     | string  | an item as the outside names it (vocabulary)                |
| count       | int64   | interactions of that user or item in the data set           |
| popularity  | int64   | interactions of an item in the train window, never beyond   |
"""

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

UNKNOWN_INDEX = 0
"""Row 0 of every vocabulary: ids that the data set never saw."""

_TYPES: dict[str, pa.DataType] = {
    USER: pa.int32(),
    ITEM: pa.int32(),
    RATING: pa.float32(),
    TIMESTAMP: pa.int64(),
    OCCURRENCE: pa.int32(),
}


def interactions_schema(
    *, rating: bool = False, timestamp: bool = False, occurrence: bool = False
) -> pa.Schema:
    """Returns the Arrow schema of indexed interactions with the optional columns."""
    optional = [(RATING, rating), (TIMESTAMP, timestamp), (OCCURRENCE, occurrence)]
    names = [USER, ITEM, *(name for name, present in optional if present)]
    return pa.schema([pa.field(name, _TYPES[name], nullable=False) for name in names])


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
