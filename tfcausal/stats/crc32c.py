"""CRC-32C of long byte strings, in numpy.

TFRecord files carry this checksum. The usual fast implementations are further packages;
here a string is cut into lanes that are taken eight bytes at a time side by side, and
the lanes' checksums are joined pairwise. A checksum is linear over GF(2), so joining is
a shift by the right part's length, which a table for each byte describes.

Reference: Gopal et al., Fast CRC computation for iSCSI polynomial using CRC32
instruction, 2011; Adler, crc32_combine in zlib.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

UInt32s = npt.NDArray[np.uint32]

_POLYNOMIAL = 0x82F63B78
_WORD = 8
_LANE_WORDS = 32
"""Words in a lane: fewer make more lanes to join, more make shorter vectors."""
_MAX_LANES = 4096
_FEW_BYTES = 64
"""Up to here a plain loop is faster."""
_ALL_ONES = np.uint32(0xFFFFFFFF)


def _byte_tables() -> UInt32s:
    """Returns [8, 256]: table k moves a byte's checksum past k further bytes."""
    first = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        odd = (first & np.uint32(1)).astype(bool)
        first = (first >> np.uint32(1)) ^ np.where(odd, np.uint32(_POLYNOMIAL), 0)
        first = first.astype(np.uint32)
    tables = [first]
    for _ in range(_WORD - 1):
        last = tables[-1]
        tables.append((last >> np.uint32(8)) ^ first[last & np.uint32(0xFF)])
    return np.stack(tables)


_TABLES = _byte_tables()
_BYTE_TABLE: tuple[int, ...] = tuple(_TABLES[0].tolist())


def crc32c(content: bytes) -> int:
    """Returns the CRC-32C (Castagnoli) of some bytes."""
    size = len(content)
    if size <= _FEW_BYTES:
        return _of_few(content)
    lanes = 1
    while lanes < _MAX_LANES and lanes * _WORD * _LANE_WORDS < size:
        lanes *= 2
    lane_bytes = -(-size // (lanes * _WORD)) * _WORD
    # Zeros in front leave a checksum that starts from 0 as it is.
    padded = np.zeros(lanes * lane_bytes, np.uint8)
    padded[-size:] = np.frombuffer(content, np.uint8)
    sums = _of_lanes(padded.reshape(lanes, lane_bytes))
    length = lane_bytes
    while len(sums) > 1:
        sums = _shifted(sums[0::2], length) ^ sums[1::2]
        length *= 2
    return int(_finished(sums, size)[0])


def crc32c_rows(rows: npt.NDArray[np.uint8]) -> UInt32s:
    """Returns the CRC-32C of each row.

    Args:
        rows: [n, num_bytes] uint8.
    Returns:
        [n] uint32.
    """
    num_rows, size = rows.shape
    padded = np.zeros((num_rows, -(-size // _WORD) * _WORD), np.uint8)
    padded[:, padded.shape[1] - size :] = rows
    return _finished(_of_lanes(padded), size)


def _of_few(content: bytes) -> int:
    crc = int(_ALL_ONES)
    for byte in content:
        crc = crc >> 8 ^ _BYTE_TABLE[crc & 0xFF ^ byte]
    return crc ^ int(_ALL_ONES)


def _finished(sums: UInt32s, size: int) -> UInt32s:
    """Turns checksums that started from 0 into those of the standard."""
    start = _shifted(np.asarray([_ALL_ONES]), size)
    finished: UInt32s = sums ^ start ^ _ALL_ONES
    return finished


def _of_lanes(lanes: npt.NDArray[np.uint8]) -> UInt32s:
    """Returns the checksum, started from 0, of each row of whole words."""
    words = lanes.reshape(len(lanes), -1, _WORD)
    sums = np.zeros(len(lanes), np.uint32)
    low = np.ascontiguousarray(words[:, :, :4]).view("<u4")[:, :, 0].T.copy()
    high = words[:, :, 4:].transpose(1, 2, 0).copy()
    for step in range(words.shape[1]):
        mixed = sums ^ low[step]
        sums = _TABLES[7][mixed & np.uint32(0xFF)]
        sums ^= _TABLES[6][(mixed >> np.uint32(8)) & np.uint32(0xFF)]
        sums ^= _TABLES[5][(mixed >> np.uint32(16)) & np.uint32(0xFF)]
        sums ^= _TABLES[4][mixed >> np.uint32(24)]
        for place in range(4):
            sums ^= _TABLES[3 - place][high[step, place]]
    return sums


def _shifted(sums: UInt32s, num_bytes: int) -> UInt32s:
    """Returns checksums as they are after `num_bytes` zeros."""
    tables = _shift_tables(num_bytes)
    result = tables[0][sums & np.uint32(0xFF)]
    for place in range(1, 4):
        result ^= tables[place][(sums >> np.uint32(8 * place)) & np.uint32(0xFF)]
    moved: UInt32s = result
    return moved


@lru_cache(maxsize=256)
def _shift_tables(num_bytes: int) -> UInt32s:
    """Returns [4, 256]: what `num_bytes` zeros make of each byte of a checksum."""
    places = np.uint32(8) * np.arange(4, dtype=np.uint32)
    values = np.arange(256, dtype=np.uint32) << places[:, None]
    if num_bytes == 0:
        return values
    shifted = _shifted(_shifted(values, num_bytes // 2), num_bytes // 2)
    if num_bytes % 2:
        shifted = (shifted >> np.uint32(8)) ^ _TABLES[0][shifted & np.uint32(0xFF)]
    return shifted
