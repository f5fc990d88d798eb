"""The checksum of TFRecord files against its definition, bit by bit."""

import numpy as np
import pytest

from tfcausal.stats.crc32c import crc32c, crc32c_rows


def plain_crc32c(content: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_standard_check_value() -> None:
    # The check value of CRC-32C in every catalogue of checksums.
    assert crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize(
    "size", [0, 1, 7, 8, 63, 64, 65, 100, 255, 256, 257, 1000, 4097, 30_001]
)
def test_agrees_with_the_definition(size: int) -> None:
    content = np.random.default_rng(size).bytes(size)
    assert crc32c(content) == plain_crc32c(content)


@pytest.mark.parametrize("size", [1, 8, 13, 120])
def test_rows_have_their_own_checksums(size: int) -> None:
    rows = np.random.default_rng(size).integers(0, 256, (5, size)).astype(np.uint8)
    expected = [plain_crc32c(row.tobytes()) for row in rows]
    assert crc32c_rows(rows).tolist() == expected
