"""Delimited files as they are published: their names, marks and columns."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from beam_jobs.sources.asked import UsualColumns
from beam_jobs.sources.units import TextForm


@dataclass(frozen=True)
class PublishedTable:
    """One published form of delimited text.

    Attributes:
        text: How it is written.
        usual: What its columns are called.
    """

    text: TextForm
    usual: UsualColumns


_RATED = UsualColumns("user", "item", "rating", "timestamp")

MOVIELENS: Mapping[str, PublishedTable] = {
    "u.data": PublishedTable(
        TextForm("\t", quoted=False, names=("user", "item", "rating", "timestamp")),
        _RATED,
    ),
    # `::` between fields reads as an empty field between single colons.
    "ratings.dat": PublishedTable(
        TextForm(
            ":",
            quoted=False,
            names=("user", "1", "item", "2", "rating", "3", "timestamp"),
            between=("1", "2", "3"),
        ),
        _RATED,
    ),
    "ratings.csv": PublishedTable(
        TextForm(), UsualColumns("userId", "movieId", "rating", "timestamp")
    ),
}

_AMAZON_2014 = PublishedTable(
    TextForm(quoted=False, names=("user", "item", "rating", "timestamp")), _RATED
)
_AMAZON_2023 = PublishedTable(
    TextForm(),
    UsualColumns("user_id", "parent_asin", "rating", "timestamp", "ms"),
)
AMAZON: Mapping[str, PublishedTable] = {
    "ratings_*.csv": _AMAZON_2014,
    "ratings_*.csv.gz": _AMAZON_2014,
    "*.csv": _AMAZON_2023,
    "*.csv.gz": _AMAZON_2023,
}

CHECKINS = PublishedTable(
    TextForm(
        "\t", quoted=False, names=("user", "time", "latitude", "longitude", "location")
    ),
    UsualColumns("user", "location", None, "time", "iso"),
)

KUAIREC = PublishedTable(
    TextForm(),
    UsualColumns(
        "user_id",
        "video_id",
        "watch_ratio",
        "timestamp",
        extras=("play_duration", "video_duration"),
    ),
)

KUAIRAND = PublishedTable(
    TextForm(),
    UsualColumns(
        "user_id",
        "video_id",
        None,
        "time_ms",
        "ms",
        labels=(
            "is_click",
            "is_like",
            "is_follow",
            "is_comment",
            "is_forward",
            "is_hate",
            "long_view",
        ),
        extras=("play_time_ms", "duration_ms", "is_rand:int64"),
    ),
)

WECHAT = PublishedTable(
    TextForm(),
    UsualColumns(
        "userid",
        "feedid",
        None,
        "date_",
        "days",
        labels=(
            "read_comment",
            "comment",
            "like",
            "click_avatar",
            "forward",
            "follow",
            "favorite",
        ),
        extras=("play", "stay", "device:int64"),
    ),
)

AMAZON_2014_REVIEWS = UsualColumns("reviewerID", "asin", "overall", "unixReviewTime")
AMAZON_2023_REVIEWS = UsualColumns(
    "user_id", "parent_asin", "rating", "timestamp", "ms"
)
YELP_REVIEWS = UsualColumns("user_id", "business_id", "stars", "date", "iso")


def table_named(
    name: str, tables: Mapping[str, PublishedTable]
) -> PublishedTable | None:
    """Returns the first form whose pattern a file's name fits."""
    for pattern, table in tables.items():
        if fnmatchcase(name, pattern):
            return table
    return None
