"""What is true in a synthetic world: the causes behind every interaction.

    WORLD/truth/users.parquet   user_id, conformity_strength, interest
    WORLD/truth/items.parquet   item_id, content, appeal, base_exposure

True interest of user u in item j is <z_u, x_j>, `interest` times `content`; true
conformity, as the log left it, is c_u * s_j, `conformity_strength` times `appeal`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tfcausal.data.world_causes import Causes, Float32s, Float64s, Int64s
from tfcausal.errors import InputError
from tfcausal.schema import columns
from tfcausal.schema.manifest import read_manifest

KIND = "world"
FOLDER = "truth"
USERS_FILE = "users.parquet"
ITEMS_FILE = "items.parquet"

Ids: TypeAlias = (
    Sequence[str] | npt.NDArray[np.str_] | npt.NDArray[np.object_] | pa.Array
)


def user_ids(num_users: int) -> pa.Array:
    """Returns [num_users] strings such as u000012, in the order of rows."""
    return _numbered("u", num_users, 6)


def item_ids(num_items: int) -> pa.Array:
    """Returns [num_items] strings such as i00034, in the order of rows."""
    return _numbered("i", num_items, 5)


@dataclass(frozen=True)
class Truth:
    """The causes of one world, by id.

    Attributes:
        user_ids: [num_users] strings.
        item_ids: [num_items] strings.
        user_interest: [num_users, dim] float32, z_u.
        conformity_strength: [num_users] float64 > 0, c_u.
        content: [num_items, dim] float32, x_j.
        appeal: [num_items] float64, s_j, standardised log popularity after the log.
        base_exposure: [num_items] float64 > 0, in interactions.
    """

    user_ids: pa.Array
    item_ids: pa.Array
    user_interest: Float32s
    conformity_strength: Float64s
    content: Float32s
    appeal: Float64s
    base_exposure: Float64s

    def interest(self, users: Ids, items: Ids) -> Float64s:
        """Returns the true interest of each user in the item at the same position.

        Args:
            users: [n] user ids.
            items: [n] item ids.
        Returns:
            [n] float64.
        Raises:
            InputError: If an id is not of this world.
        """
        vectors = self.user_interest[self.user_rows(users)]
        contents = self.content[self.item_rows(items)]
        products: Float32s = np.einsum("nd,nd->n", vectors, contents)
        return products.astype(np.float64)

    def conformity(self, users: Ids, items: Ids) -> Float64s:
        """Returns the true conformity of each user to the item at the same position.

        Args:
            users: [n] user ids.
            items: [n] item ids.
        Returns:
            [n] float64.
        Raises:
            InputError: If an id is not of this world.
        """
        strengths = self.conformity_strength[self.user_rows(users)]
        pulls: Float64s = strengths * self.appeal[self.item_rows(items)]
        return pulls

    def user_rows(self, users: Ids) -> Int64s:
        """Returns [n] int64, the row of each user id."""
        return _rows(self.user_ids, users, columns.USER_ID)

    def item_rows(self, items: Ids) -> Int64s:
        """Returns [n] int64, the row of each item id."""
        return _rows(self.item_ids, items, columns.ITEM_ID)


def write_truth(folder: Path, causes: Causes, appeal: Float64s) -> None:
    """Writes a world's truth.

    Args:
        folder: The world's folder; its truth folder is made.
        causes: The world's users and items.
        appeal: [num_items] float64, s_j after the log.
    """
    target = folder / FOLDER
    target.mkdir()
    users = {
        columns.USER_ID: user_ids(len(causes.interest)),
        "conformity_strength": pa.array(causes.conformity),
        "interest": _vectors(causes.interest),
    }
    items = {
        columns.ITEM_ID: item_ids(len(causes.content)),
        "content": _vectors(causes.content),
        "appeal": pa.array(appeal),
        "base_exposure": pa.array(causes.base_exposure),
    }
    pq.write_table(pa.table(users), target / USERS_FILE)
    pq.write_table(pa.table(items), target / ITEMS_FILE)


def read_truth(folder: Path) -> Truth:
    """Reads the truth of a finished world.

    Args:
        folder: The world's folder, as `tfcausal synth` wrote it.
    Raises:
        InputError: If it is not a world's folder.
    """
    read_manifest(folder, kind=KIND)
    users = pq.read_table(folder / FOLDER / USERS_FILE).combine_chunks()
    items = pq.read_table(folder / FOLDER / ITEMS_FILE).combine_chunks()
    return Truth(
        user_ids=users[columns.USER_ID].combine_chunks(),
        item_ids=items[columns.ITEM_ID].combine_chunks(),
        user_interest=_matrix(users["interest"]),
        conformity_strength=users["conformity_strength"].to_numpy(),
        content=_matrix(items["content"]),
        appeal=items["appeal"].to_numpy(),
        base_exposure=items["base_exposure"].to_numpy(),
    )


def _numbered(prefix: str, count: int, digits: int) -> pa.Array:
    width = max(digits, len(str(count - 1)))
    return pa.array([f"{prefix}{row:0{width}d}" for row in range(count)], pa.string())


def _vectors(matrix: Float32s) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1])


def _matrix(column: pa.ChunkedArray) -> Float32s:
    vectors = column.combine_chunks()
    flat: Float32s = vectors.flatten().to_numpy()
    return flat.reshape(len(vectors), -1)


def _rows(known: pa.Array, ids: Ids, name: str) -> Int64s:
    wanted = ids if isinstance(ids, pa.Array) else pa.array(ids, pa.string())
    rows = pc.index_in(wanted, value_set=known)
    if rows.null_count:
        missing = wanted.filter(pc.is_null(rows))[0].as_py()
        raise InputError(
            f"`{name}` must be one of the world's {len(known)} ids, from "
            f"{known[0].as_py()} to {known[-1].as_py()}; got {missing!r}. Check that "
            "the ids come from the same world."
        )
    found: Int64s = rows.to_numpy().astype(np.int64)
    return found
