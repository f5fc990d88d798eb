"""Paths of an object store, used as those of a local file system are.

A path with a scheme, such as gs://bucket/folder, is a StorePath; any other is a
pathlib.Path. Both have what this package needs of a path. What opens the objects is
pyarrow.fs, whose stores are gs:// (Google Cloud Storage), s3:// (Amazon S3 and what
speaks its language), abfs:// (Azure) and hdfs://; credentials are the machine's own, as
each store's tools find them.
"""

import io
import os
import re
import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import cache
from glob import glob, has_magic
from itertools import takewhile
from pathlib import Path, PosixPath
from tempfile import TemporaryDirectory
from typing import IO, Any, cast

import pyarrow as pa
from pyarrow import fs

from tfcausal.errors import InputError

SCHEMES = ("gs", "s3", "abfs", "abfss", "hdfs")
"""What a path of a store may begin with, before "://"."""

# As a pathlib.Path, the slashes after a scheme have become one.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)
_READ_BYTES = 8 << 20
_SETTINGS = {"gs:": "?retry_limit_seconds=20"}
"""By scheme. Without it, a machine without credentials would be silent for long."""


class StorePath(PosixPath):
    """A path of an object store: scheme://bucket/key.

    It is a pathlib.Path, so that it may stand wherever one may; what touches a local
    file system and is not named below does not work.

    The first part is "scheme:", as pathlib cuts it. Folders do not exist apart
    from the objects below them: making one does nothing, and one without objects does
    not exist.
    """

    __slots__ = ()

    def __str__(self) -> str:
        """Returns the URI."""
        # A path relative to another has no scheme.
        return super().__str__().replace(":/", "://", 1)

    def __fspath__(self) -> str:
        """Returns the URI, which every function of pyarrow takes for a path."""
        return str(self)

    def absolute(self) -> "StorePath":
        """Returns the path itself, which is never relative."""
        return self

    def resolve(self, strict: bool = False) -> "StorePath":
        """Returns the path with no "..", which a store would take for a name."""
        # pathlib's own text has one slash after the scheme.
        return StorePath(os.path.normpath(super().__str__()))

    def exists(self) -> bool:
        """Returns whether there is an object, or one below."""
        return bool(self._info().type != fs.FileType.NotFound)

    def is_file(self) -> bool:
        """Returns whether there is an object."""
        return bool(self._info().type == fs.FileType.File)

    def is_dir(self) -> bool:
        """Returns whether there are objects below."""
        return bool(self._info().type == fs.FileType.Directory)

    def size(self) -> int:
        """Returns the number of bytes of an object."""
        return int(self._info().size)

    def mkdir(
        self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False
    ) -> None:
        """Does nothing: a folder is there when an object is."""

    def rmdir(self) -> None:
        """Does nothing: a folder is gone when its objects are."""

    def iterdir(self) -> Generator["StorePath", None, None]:
        """Yields objects and folders directly below."""
        return self._below(recursive=False)

    def rglob(self, pattern: str) -> Generator["StorePath", None, None]:
        """Yields everything below whose name fits."""
        for path in self._below(recursive=True):
            if fnmatchcase(path.name, pattern):
                yield path

    def glob(self, pattern: str) -> Generator["StorePath", None, None]:
        """Yields everything below that fits, a pattern for each folder on the way."""
        here, _, deeper = pattern.partition("/")
        for path in self.iterdir():
            if fnmatchcase(path.name, here):
                yield from path.glob(deeper) if deeper else (path,)

    def open(self, mode: str = "rb") -> IO[Any]:  # type: ignore[override] # Path.open opens texts too
        """Opens an object.

        Args:
            mode: "rb" or "wb". What is written appears when it is closed.
        """
        store, key = _store(self)
        if mode == "wb":
            return cast(IO[Any], store.open_output_stream(key, compression=None))
        opened = cast(io.RawIOBase, store.open_input_file(key))
        return io.BufferedReader(opened, _READ_BYTES)

    def read_bytes(self) -> bytes:
        """Returns an object's bytes."""
        with self.open("rb") as stream:
            return bytes(stream.read())

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        """Returns an object's text."""
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")

    def write_text(
        self,
        data: str,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> int:
        """Writes an object of text; returns the number of characters."""
        with self.open("wb") as stream:
            stream.write(data.encode(encoding or "utf-8", errors or "strict"))
        return len(data)

    def unlink(self, missing_ok: bool = False) -> None:
        """Removes an object."""
        store, key = _store(self)
        try:
            store.delete_file(key)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def _info(self) -> fs.FileInfo:
        store, key = _store(self)
        (found,) = store.get_file_info([key])
        return found

    def _below(self, *, recursive: bool) -> Generator["StorePath", None, None]:
        store, key = _store(self)
        selector = fs.FileSelector(key, allow_not_found=True, recursive=recursive)
        for found in store.get_file_info(selector):
            yield self / found.path[len(key) + 1 :]


def as_path(path: str | os.PathLike[str]) -> Path:
    """Returns a path, absolute, that workers find too.

    Args:
        path: A local path or one with a scheme.
    Returns:
        A pathlib.Path or a StorePath, which has the same methods.
    Raises:
        InputError: If no store has that scheme.
    """
    found = _SCHEME.fullmatch(os.fspath(path))
    if found is None:
        return Path(path).absolute()
    scheme, rest = found.groups()
    if scheme not in SCHEMES:
        raise InputError(
            f"`{path}` must be a local path or begin with one of "
            f"{', '.join(f'{known}://' for known in SCHEMES)}; got {scheme}://. Copy "
            "the data to one of these."
        )
    return StorePath(f"{scheme}:/{rest}")


def is_store(path: os.PathLike[str]) -> bool:
    """Returns whether a path is one of an object store."""
    return isinstance(path, StorePath)


def find_files(pattern: str) -> list[Path]:
    """Returns the files that fit a glob, absolute, in no order.

    Args:
        pattern: A glob. In a store, "**" is as good as "*".
    """
    path = as_path(pattern)
    if not is_store(path):
        entries = [Path(entry).absolute() for entry in glob(pattern)]
        return [entry for entry in entries if entry.is_file()]
    fixed = list(takewhile(lambda part: not has_magic(part), path.parts))
    below = path.parts[len(fixed) :]
    if not below:
        return [path] if path.is_file() else []
    found = StorePath(*fixed).glob("/".join(below))
    return [path for path in found if path.is_file()]


@contextmanager
def on_local_disk(folder: Path) -> Iterator[Path]:
    """Gives a folder for libraries that read none of a store; a copy, if it is there.

    Args:
        folder: A local folder or one of a store.
    """
    if not is_store(folder):
        yield folder
        return
    with TemporaryDirectory() as scratch:
        for path in folder.rglob("*"):
            if path.is_file():
                copied = Path(scratch, path.relative_to(folder).as_posix())
                copied.parent.mkdir(parents=True, exist_ok=True)
                copied.write_bytes(path.read_bytes())
        yield Path(scratch)


@contextmanager
def from_local_disk(folder: Path) -> Iterator[Path]:
    """Gives a folder for libraries that write to none of a store; copied there after.

    Args:
        folder: A local folder, which is made and given itself, or one of a store.
    """
    if not is_store(folder):
        folder.mkdir(parents=True)
        yield folder
        return
    with TemporaryDirectory() as scratch:
        yield Path(scratch)
        for path in sorted(Path(scratch).rglob("*")):
            if path.is_file():
                target = folder / path.relative_to(scratch).as_posix()
                with path.open("rb") as source, target.open("wb") as copied:
                    shutil.copyfileobj(source, copied, _READ_BYTES)


def num_bytes(path: str) -> int:
    """Returns the size of a file."""
    found = as_path(path)
    return found.size() if isinstance(found, StorePath) else found.stat().st_size


def open_decompressed(path: str, compression: str | None = "detect") -> pa.NativeFile:
    """Opens a file from its beginning, decompressed.

    Args:
        path: The file.
        compression: As in `pyarrow.input_stream`: "detect" goes by the name.
    """
    found = as_path(path)
    if isinstance(found, StorePath):
        store, key = _store(found)
        return store.open_input_stream(key, compression, buffer_size=_READ_BYTES)
    return pa.input_stream(path, compression=compression)


def _store(path: StorePath) -> tuple[fs.FileSystem, str]:
    """Returns the store of a path, and the path within it."""
    scheme, bucket, *_ = (*path.parts, "")
    uri = f"{scheme}//{bucket}"
    store, root = _open_store(uri, _SETTINGS.get(scheme, ""), os.getpid())
    return store, root + str(path)[len(uri) :]


@cache
def _open_store(uri: str, settings: str, _process: int) -> tuple[fs.FileSystem, str]:
    # A client does not outlive a fork, so that each process opens its own.
    try:
        return cast(tuple[fs.FileSystem, str], fs.FileSystem.from_uri(uri + settings))
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"`{uri}` must be a store that can be reached; got {error}. Check the "
            "bucket's name and the credentials."
        ) from error
