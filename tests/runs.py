"""A finished run as training writes it, with given vectors, for what comes after it."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tfcausal.data.interactions import CheckedDataset
from tfcausal.schema.manifest import Manifest, checksums, write_manifest
from tfcausal.schema.vectors import CausalVectors
from tfcausal.training.run import Run, load_run

CAUSES = {"interest": 5, "conformity": 3}


def random_vectors(
    num_users: int,
    num_items: int,
    *,
    causes: Mapping[str, int] = CAUSES,
    num_queries: int = 1,
    scale: float = 1.0,
    seed: int = 0,
) -> CausalVectors:
    """Normal vectors; all scores are multiplied by `scale`."""
    rng = np.random.default_rng(seed)
    ends = np.cumsum(list(causes.values())).tolist()
    queries = rng.normal(size=(num_users, num_queries, ends[-1])) * scale
    return CausalVectors(
        queries.astype(np.float32),
        rng.normal(size=(num_items, ends[-1])).astype(np.float32),
        {
            name: slice(end - size, end)
            for (name, size), end in zip(causes.items(), ends, strict=True)
        },
    )


def write_run(folder: Path, dataset: CheckedDataset, vectors: CausalVectors) -> Run:
    """Writes what `tfcausal train` leaves behind."""
    vectors.save(folder / "vectors")
    inputs = {"splits": dataset.splits.fingerprint}
    description = {
        "method": "dice",
        "dataset": str(dataset.folder.root.resolve()),
        "options": {"seed": 0},
        "inputs": inputs,
    }
    (folder / "run.json").write_text(json.dumps(description))
    (folder / "metrics.json").write_text(
        json.dumps({"validation": {"recall@20": 0.25}})
    )
    files = {
        f"vectors/{name}": checksum
        for name, checksum in checksums(folder / "vectors").items()
    }
    write_manifest(
        folder, Manifest(kind="run", inputs=inputs, options={"seed": 0}, files=files)
    )
    return load_run(folder)
