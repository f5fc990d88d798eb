"""Writes deploy/dataflow/JOB.json: each job's parameters, for a Flex Template."""

import dataclasses
import json
import types
import typing
from pathlib import Path
from typing import Any

from beam_jobs import (
    drift,
    graph,
    ingest,
    item_concepts,
    popularity,
    sequences,
    split,
    triplets,
)
from beam_jobs.runtime.command import Job
from tfcausal.schema.options import field_meanings, field_types

JOBS = (ingest, split, popularity, triplets, sequences, graph, item_concepts, drift)
FOLDER = Path(__file__).parents[1] / "deploy" / "dataflow"


def metadata(job: Job) -> str:
    """Returns the JSON text that `gcloud dataflow flex-template build` takes."""
    options = job.flags.options_class
    kinds, meanings = field_types(options), field_meanings(options)
    parameters = [
        {
            "name": field.name,
            "label": field.name.replace("_", " ").capitalize(),
            "helpText": meanings[field.name],
            "isOptional": field.default is not dataclasses.MISSING,
            **_type(kinds[field.name]),
        }
        for field in dataclasses.fields(options)
    ]
    parameters.append(
        {
            "name": "sdk_container_image",
            "label": "Image of the workers",
            "helpText": "The image of deploy/dataflow/Dockerfile.",
            "isOptional": True,
            "paramType": "TEXT",
        }
    )
    content = {
        "name": f"tfcausal {job.name}",
        "description": job.summary,
        "parameters": parameters,
    }
    return json.dumps(content, indent=2) + "\n"


def _type(kind: Any) -> dict[str, Any]:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return _type(typing.get_args(kind)[0])
    if typing.get_origin(kind) is typing.Literal:
        choices = [{"value": choice} for choice in typing.get_args(kind)]
        return {"paramType": "ENUM", "enumOptions": choices}
    if kind is bool:
        choices = [{"value": choice} for choice in ("false", "true")]
        return {"paramType": "ENUM", "enumOptions": choices}
    if kind in (int, float):
        return {"paramType": "NUMBER"}
    return {"paramType": "TEXT"}


if __name__ == "__main__":
    for module in JOBS:
        path = FOLDER / f"{module.JOB.name}.json"
        path.write_text(metadata(module.JOB), encoding="utf-8")
        print(path.relative_to(FOLDER.parents[1]))
