"""Writes deploy/dataflow/JOB.json: each job's parameters, for a Flex Template."""

import dataclasses
import importlib
import json
import pkgutil
import types
import typing
from pathlib import Path
from typing import Any

import beam_jobs
from beam_jobs.runtime.command import Job
from tfcausal.schema.options import field_meanings, field_types

JOBS: list[Job] = [
    importlib.import_module(f"beam_jobs.{found.name}").JOB
    for found in pkgutil.iter_modules(beam_jobs.__path__)
    if not found.ispkg
]
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
    for job in JOBS:
        path = FOLDER / f"{job.name}.json"
        path.write_text(metadata(job), encoding="utf-8")
        print(path.relative_to(FOLDER.parents[1]))
