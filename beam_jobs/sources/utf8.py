"""Bytes that Arrow's CSV reader cannot take, hidden from it and brought back behind it.

Arrow hands over a row of the wrong form as text, and fails where its bytes are no
UTF-8; and it loses rows where a block ends beside a NUL. So a byte b that cannot be
decoded, or is 0, goes through as the character U+10FF00 + b, at the end of the last
plane of private use. Should the input hold such a character itself, each of its bytes
is hidden in the same way: nothing is lost or confused.
"""

import codecs
import io
import re

import pyarrow as pa
import pyarrow.compute as pc

_HIDDEN = 0x10FF00
_MARK = chr(_HIDDEN).encode()[:2]
_HIDDEN_BYTE = re.compile(_MARK + rb"([\xbc-\xbf])([\x80-\xbf])")
_READ_BYTES = 1 << 20
_BYTE_ORDER_MARK = codecs.BOM_UTF8


def _hidden(content: bytes) -> str:
    return "".join(chr(_HIDDEN + byte) for byte in content)


# What surrogateescape makes of a byte, and characters that would look hidden.
_TO_HIDE = {
    **{0xDC00 + byte: _hidden(bytes([byte])) for byte in range(0x80, 0x100)},
    **{_HIDDEN + byte: _hidden(chr(_HIDDEN + byte).encode()) for byte in range(0x100)},
}


class Utf8Stream(io.RawIOBase):
    """A stream of bytes made UTF-8.

    Attributes:
        hides: Whether a byte has been hidden so far.
    """

    def __init__(
        self, stream: pa.NativeFile | io.RawIOBase, also: bytes, *, amid: bool
    ) -> None:
        """Reads another stream.

        Args:
            stream: It.
            also: Other ASCII characters to hide than NUL.
            amid: Whether it begins amid a file, where a byte order mark is none; as
                Arrow leaves out one at the beginning, it is given one to leave out.
        """
        super().__init__()
        self.hides = False
        self._stream = stream
        self._also = b"\0" + also
        self._to_hide = _TO_HIDE | {
            letter: _hidden(bytes([letter])) for letter in self._also
        }
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._ready = _BYTE_ORDER_MARK if amid else b""
        self._ended = False

    def readable(self) -> bool:
        """Returns True."""
        return True

    def close(self) -> None:
        """Closes the other stream, too."""
        self._stream.close()
        super().close()

    def read(self, size: int = -1) -> bytes:
        """Returns so many bytes, fewer only at the end: Arrow counts on that."""
        while not self._ended and not 0 <= size <= len(self._ready):
            content = self._stream.read(size if size > 0 else _READ_BYTES)
            self._ended = not content
            self._ready += self._as_utf8(content)
        end = size if size >= 0 else len(self._ready)
        given, self._ready = self._ready[:end], self._ready[end:]
        return given

    def _as_utf8(self, content: bytes) -> bytes:
        """Returns bytes as UTF-8; a letter that is cut off comes with the next."""
        clean = not any(letter in content for letter in self._also)
        half_letter, _ = self._decoder.getstate()
        if content and clean and not half_letter and content.isascii():
            return content
        text = self._decoder.decode(content, final=not content)
        if clean and _MARK not in half_letter + content:
            try:
                return text.encode()
            except UnicodeEncodeError:
                pass
        self.hides = True
        return text.translate(self._to_hide).encode()


def restored(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Returns columns of binaries with the hidden bytes in their places again."""
    columns = []
    for column in batch.columns:
        hiding = pc.match_substring(column, _MARK)
        values = column.filter(hiding).to_pylist()
        originals = pa.array([original(value) for value in values], pa.binary())
        columns.append(pc.replace_with_mask(column, hiding, originals))
    return pa.record_batch(columns, batch.schema.names)


def original(content: bytes) -> bytes:
    """Returns bytes with the hidden ones in their places again."""

    def byte(found: re.Match[bytes]) -> bytes:
        return bytes([(ord(found[1]) & 3) << 6 | ord(found[2]) & 0x3F])

    return _HIDDEN_BYTE.sub(byte, content)
