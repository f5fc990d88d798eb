"""The transform of feature tables: read one, line it up with its vocabulary, write."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq

from beam_jobs.runtime.report import counted, failed
from beam_jobs.sources.feature_file import FeatureFile, read_features
from tfcausal.errors import InputError
from tfcausal.stats.arrow_bytes import table_from_bytes
from tfcausal.stats.feature_tables import align

_NAMESPACE = "ingest"


class WriteFeatures(beam.DoFn):
    """Writes the features of users or items, a row for each row of the vocabulary."""

    def __init__(self, folder: Path, row_group_size: int) -> None:
        """Keeps where to write."""
        self._folder = folder
        self._row_group_size = row_group_size

    def process(self, source: FeatureFile, vocabulary: bytes) -> Iterator[Any]:
        """Yields reports."""
        kind = source.features_of
        try:
            ids, features = read_features(source)
        except InputError as error:
            yield failed(error)
            return
        known = table_from_bytes(vocabulary)[source.id_column].combine_chunks()
        aligned = align(features, ids, known)
        named = pa.table({source.id_column: known})
        for name in aligned.table.column_names:
            named = named.append_column(name, aligned.table[name])
        path = self._folder / f"{kind}_features.parquet"
        pq.write_table(named, path, row_group_size=self._row_group_size)
        yield counted(
            _NAMESPACE,
            {
                f"{kind}_features_unknown": aligned.unknown,
                f"{kind}_features_repeated": aligned.repeated,
                f"{kind}s_without_features": aligned.missing,
            },
        )
