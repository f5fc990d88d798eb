"""The batches of a method on a data set, from memory or from what a job wrote."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tfcausal.data.histories import SequencesInMemory
from tfcausal.data.interactions import CheckedDataset, read_part, read_popularity
from tfcausal.data.sequence_rows import SequenceShards
from tfcausal.data.train_window import read_fact
from tfcausal.data.training_rows import (
    PositivesByUser,
    PositivesInMemory,
    TripletShards,
)
from tfcausal.errors import InputError
from tfcausal.methods.base import Method
from tfcausal.methods.histories import HistoryMethod
from tfcausal.methods.triplets import TripletMethod
from tfcausal.samplers.batches import Batches, SequenceBatches, TripletBatches
from tfcausal.samplers.negatives import NegativeSampler
from tfcausal.schema.dataset import TRAIN, TRAINING_PARTS
from tfcausal.stats.negatives import Catalogue, Positives
from tfcausal.stats.order import BLOCK_ROWS
from tfcausal.training.options import TrainingOptions


def training_batches(
    dataset: CheckedDataset, model: Method, options: TrainingOptions
) -> Batches:
    """Returns the batches that `model` learns from.

    Args:
        dataset: A data set that has been split and whose popularity is counted.
        model: The method; it says who the negatives are, or which histories there are.
        options: Seed, batch size and where the rows come from.
    Raises:
        InputError: If a part, the popularity or shards are missing or do not fit.
    """
    if isinstance(model, HistoryMethod):
        return _of_histories(dataset, model, options)
    assert isinstance(model, TripletMethod)
    return _of_triplets(dataset, model, options)


def _of_histories(
    dataset: CheckedDataset, model: HistoryMethod, options: TrainingOptions
) -> SequenceBatches:
    if options.draw_positives != "each":
        raise InputError(
            f"`draw_positives` must be each for {model.registered_name}, which learns "
            f"from histories; got {options.draw_positives}."
        )
    rule = replace(model.options.rule(), seed=options.seed)
    rows: SequencesInMemory | SequenceShards
    if options.triplets == "shards":
        rows = SequenceShards(dataset, part=TRAIN, num_epochs=options.epochs)
        _require_options(
            rows.manifest.options,
            {**asdict(rule), "block_rows": BLOCK_ROWS},
            dataset.folder.sequences(TRAIN),
            "beam_jobs.sequences",
        )
    else:
        rows = SequencesInMemory(dataset, rule)
    return SequenceBatches(
        rows,
        max_length=rule.max_length,
        seed=options.seed,
        batch_size=options.batch_size,
    )


def _of_triplets(
    dataset: CheckedDataset, model: TripletMethod, options: TrainingOptions
) -> TripletBatches:
    sampling = model.negative_sampling()
    popularity = read_popularity(dataset)
    facts = model.row_facts()
    if options.triplets == "shards":
        if sampling is None or facts:
            raise InputError(
                f"`triplets` must be graph for {model.registered_name}, whose rows are "
                "no plain triplets; got shards."
            )
        shards = TripletShards(dataset, num_epochs=options.epochs)
        promised = {
            "seed": options.seed,
            "record_format": "blocks",
            "block_rows": BLOCK_ROWS,
            "negatives": sampling.law,
            **asdict(sampling),
        }
        _require_options(
            shards.manifest.options,
            promised,
            dataset.folder.triplets,
            "beam_jobs.triplets",
        )
        return TripletBatches(
            shards,
            sampling,
            popularity,
            None,
            seed=options.seed,
            batch_size=options.batch_size,
        )
    parts = dataset.parts(TRAINING_PARTS)
    rows = read_part(dataset.folder, parts)
    sampler = None
    if sampling is not None:
        catalogue = Catalogue.from_popularity(popularity)
        sampler = NegativeSampler(
            catalogue,
            Positives.from_rows(rows.users, rows.items, catalogue),
            num_users=dataset.num_users,
            num_negatives=sampling.num_negatives,
        )
    known = {name: read_fact(dataset, parts, name) for name in facts}
    by_user = options.draw_positives == "by_user"
    if by_user and model.has_batch_negatives():
        raise InputError(
            f"`draw_positives` must be each for {model.registered_name} with a softmax "
            "over the batch, which is corrected by how often items are among the rows; "
            "got by_user."
        )
    source = PositivesByUser if by_user else PositivesInMemory
    return TripletBatches(
        source(rows, known, seed=options.seed),
        sampling,
        popularity,
        sampler,
        seed=options.seed,
        batch_size=options.batch_size,
    )


def _require_options(
    found: Mapping[str, Any], promised: Mapping[str, Any], folder: Path, job: str
) -> None:
    """Raises InputError where shards were written with other options."""
    for name, value in promised.items():
        if found.get(name) != value:
            raise InputError(
                f"`{folder}`: {name} must be {value}, as this training has it; got "
                f"{found.get(name)}. Run {job} with --{name}={value}, or train with "
                "triplets=graph."
            )
