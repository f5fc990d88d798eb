"""What a folder of data promises: its manifest.json.

A manifest holds nothing that depends on where or when it was written (no path, no
time), so that equal options give equal bytes. Its fingerprint is the hash of those
bytes and thereby, through the checksum of each file, of everything in the folder;
whoever computes from a folder records the fingerprint, and a reader compares.
"""

import hashlib
import json
import platform
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

from tfcausal.errors import InputError

FILE_NAME = "manifest.json"

_WRITERS = {
    "dataset": "python -m beam_jobs.ingest",
    "splits": "python -m beam_jobs.split",
    "popularity": "python -m beam_jobs.popularity",
    "item_concepts": "python -m beam_jobs.item_concepts",
    "triplets": "python -m beam_jobs.triplets",
    "sequences": "python -m beam_jobs.sequences",
    "drift": "python -m beam_jobs.drift",
    "graph": "python -m beam_jobs.graph",
    "vectors": "python -m beam_jobs.embed",
    "sharded_index": "python -m beam_jobs.index",
    "recommendations": "python -m beam_jobs.recommend",
    "run": "tfcausal train",
    "export": "tfcausal export",
    "index": "tfcausal index",
    "frozen_index": "tfcausal index --frozen",
    "world": "tfcausal synth",
}
"""Kind of result to the command that makes it."""
FORMAT_VERSION = 1


def library_versions(*names: str) -> dict[str, str]:
    """Returns the installed versions of Python and of the named distributions."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in sorted(names)},
    }


@dataclass(frozen=True)
class Manifest:
    """The promises of one folder.

    Attributes:
        kind: What the folder holds: "dataset", "splits", "popularity",
            "item_concepts", "triplets", "sequences", "graph", "drift", "world", "run",
            "export", "index", "frozen_index", "vectors", "sharded_index",
            "recommendations".
        options: The options that made it, by name.
        counts: Rows, users, items, rejected rows and the like.
        inputs: Fingerprint of each folder or input it was computed from, by name.
        files: SHA-256 of each file, by path relative to the folder, "/" between parts.
        details: Anything else a reader needs, such as the parts of a split.
        versions: Versions of the libraries that wrote it.
        format_version: Version of this form.
    """

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        """Returns the canonical JSON text: sorted keys, one trailing newline."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical text, 64 hexadecimal digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def file_checksum(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def checksums(folder: Path) -> dict[str, str]:
    """Returns the SHA-256 of every file below `folder`.

    Its manifest is left out, and what begins with a dot, which is the writer's own.
    """
    paths = [
        path
        for path in sorted(folder.rglob("*"))
        if path != folder / FILE_NAME
        and not path.name.startswith(".")
        and path.is_file()
    ]
    names = [path.relative_to(folder).as_posix() for path in paths]
    # Hashing and waiting for a store both leave the interpreter free.
    with ThreadPoolExecutor() as threads:
        return dict(zip(names, threads.map(file_checksum, paths), strict=True))


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes `manifest` as the folder's manifest.json."""
    (folder / FILE_NAME).write_text(manifest.to_json(), encoding="utf-8")


def kind_of(folder: Path) -> str | None:
    """Returns the kind that a folder's manifest says, None where there is none."""
    try:
        content = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    kind = content.get("kind") if isinstance(content, dict) else None
    return kind if isinstance(kind, str) else None


def read_manifest(folder: Path, *, kind: str) -> Manifest:
    """Reads and checks a folder's manifest.

    Args:
        folder: The folder.
        kind: The kind that the caller can read.
    Returns:
        The manifest.
    Raises:
        InputError: If there is none, or a field of it does not fit; the message names
            the field.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise InputError(
            f"`{folder}` must hold a finished result of kind {kind}, with a "
            f"{FILE_NAME}; found none. Check the path, or write it with "
            f"`{_WRITERS[kind]}`."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        fields = {name: content[name] for name in asdict(Manifest(kind=kind))}
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"`{path}` must be a manifest in JSON; field or text {error} does not fit. "
            "Write the folder again."
        ) from error
    if fields["format_version"] != FORMAT_VERSION:
        raise InputError(
            f"`{path}`: format_version must be {FORMAT_VERSION}; got "
            f"{fields['format_version']}. Write the folder again with this version."
        )
    if fields["kind"] != kind:
        raise InputError(
            f"`{path}`: kind must be {kind}; got {fields['kind']}. Check the path."
        )
    for name in fields["files"]:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise InputError(
                f"`{path}`: files must lie inside `{folder}`; `{name}` leads outside. "
                "Do not use a folder that somebody else has tampered with."
            )
    return Manifest(**fields)


def require_files(manifest: Manifest, folder: Path, *, below: str = "") -> None:
    """Raises unless the files of a folder are still what its manifest promises.

    Args:
        manifest: The manifest.
        folder: Its folder.
        below: A folder inside it, "/" at its end, to look at no other files.
    Raises:
        InputError: If a file is missing or has changed.
    """
    for name, promised in manifest.files.items():
        path = folder / name
        if name.startswith(below) and (
            not path.is_file() or file_checksum(path) != promised
        ):
            raise InputError(
                f"`{path}` must be as `{_WRITERS[manifest.kind]}` wrote it; it is "
                "missing or has changed since. Write the folder again, or restore it."
            )


def require_input(
    manifest: Manifest, name: str, fingerprint: str, folder: Path
) -> None:
    """Raises unless `manifest` was computed from the input with that fingerprint.

    Args:
        manifest: The manifest of a computed folder.
        name: The input's name in `manifest.inputs`.
        fingerprint: The fingerprint of that input as it is now.
        folder: The computed folder, for the message.
    Raises:
        InputError: If they differ.
    """
    found = manifest.inputs.get(name)
    if found != fingerprint:
        raise InputError(
            f"`{folder}`: inputs.{name} must be {fingerprint[:12]}, the {name} as it "
            f"is now; got {(found or 'nothing')[:12]}. Run the job that writes "
            f"`{folder.name}` again."
        )
