"""What would cross a shuffle, kept on disk when a job runs without Beam."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tfcausal.schema.paths import is_store


@contextmanager
def spill_folder(folder: Path) -> Iterator[Path]:
    """Gives an empty folder on a local disk, and removes it after the block.

    Args:
        folder: The folder that is being written. The other lies in it, so that both
            fill the same disk, unless it is one of an object store.
    """
    parent = None if is_store(folder) else folder
    with TemporaryDirectory(prefix=".spilled-", dir=parent) as spilled:
        yield Path(spilled)


class Spill:
    """Blocks of bytes by number, on disk until their number is asked for."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder, which must not exist yet; empty, it may be removed."""
        folder.mkdir()
        self._folder = folder

    def append(self, element: tuple[int, bytes]) -> None:
        """Adds a block to those of its number."""
        number, block = element
        with (self._folder / str(number)).open("ab") as stream:
            stream.write(len(block).to_bytes(8, "little") + block)

    def take(self) -> Iterator[tuple[int, list[bytes]]]:
        """Yields each number with its blocks, ascending, and removes them."""
        for path in sorted(self._folder.iterdir(), key=lambda path: int(path.name)):
            blocks = []
            with path.open("rb") as stream:
                while size := stream.read(8):
                    blocks.append(stream.read(int.from_bytes(size, "little")))
            path.unlink()
            yield int(path.name), blocks

    def take_one_each(self) -> Iterator[tuple[int, bytes]]:
        """Yields each number with its only block, as `take` does."""
        for number, (block,) in self.take():
            yield number, block
