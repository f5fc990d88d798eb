"""What items are called, from a table of them."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from tfcausal.errors import InputError


@dataclass(frozen=True)
class TitleFile:
    """Where titles are.

    Attributes:
        path: A CSV file with a header, or, by its name's end, a Parquet file.
        item_column: The column of ids, as the model has them.
        title_column: The column of titles.
    """

    path: Path
    item_column: str
    title_column: str

    def read(self, item_ids: Collection[str]) -> dict[str, str]:
        """Returns the titles of items, as far as they have one.

        Of an item's rows the first with a title counts.

        Args:
            item_ids: The items.
        Raises:
            InputError: If the file cannot be read, lacks a column, has one that is not
                text, or names none of the items.
        """
        columns = (self.item_column, self.title_column)
        if not self.path.is_file():
            raise InputError(f"`--items` must be a file; got {self.path}.")
        try:
            names, read = _opened(self.path)
            for column in columns:
                if names.count(column) != 1:
                    raise InputError(
                        f"`{self.path}` must have one column `{column}`; got "
                        f"{', '.join(names)}. Say --item_column and --title_column."
                    )
            table = read(columns)
        except (pa.ArrowException, OSError) as error:
            raise InputError(
                f"`{self.path}` must be a CSV or Parquet file; got: {error}"
            ) from error
        ids, texts = (self._texts(table, name) for name in columns)
        shown = pc.is_in(ids, pa.array(list(item_ids), pa.string()))
        if not pc.any(shown).as_py():
            raise InputError(
                f"`{self.path}` must name items of the page by `{self.item_column}`; "
                "none of its ids is one of theirs. Are they the ids of the log?"
            )
        titles: dict[str, str] = {}
        for item_id, title in zip(
            ids.filter(shown).to_pylist(), texts.filter(shown).to_pylist(), strict=True
        ):
            if title:
                titles.setdefault(item_id, title)
        return titles

    def _texts(self, table: pa.Table, name: str) -> pa.ChunkedArray:
        try:
            return table[name].cast(pa.string())
        except pa.ArrowException as error:
            raise InputError(
                f"Column `{name}` of `{self.path}` must be text; got "
                f"{table[name].type}: {error}"
            ) from error


def _opened(path: Path) -> tuple[list[str], Callable[[Sequence[str]], pa.Table]]:
    """Returns the names of a file's columns, and what reads some of them."""
    if path.suffix == ".parquet":
        names = pq.read_schema(path).names
        return names, lambda columns: pq.read_table(path, columns=list(columns))
    parsing = pa_csv.ParseOptions(newlines_in_values=True)
    with pa_csv.open_csv(path, parse_options=parsing) as head:
        names = head.schema.names

    def read(columns: Sequence[str]) -> pa.Table:
        # As text: the item 007 is not the item 7.
        options = pa_csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()), include_columns=columns
        )
        return pa_csv.read_csv(path, parse_options=parsing, convert_options=options)

    return names, read
