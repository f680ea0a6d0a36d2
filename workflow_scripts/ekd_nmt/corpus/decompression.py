"""Decompress untrusted files: .gz, .bz2, .xz and .zst, with a bound on their unpacked size.

Formats are recognised by their first bytes, never by a file name. A wrong checksum or a missing end is an error.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from typing import IO, Any

from backports import zstd
from typing_extensions import Buffer

from ekd_nmt.common.errors import UserError

BLOCK = 1 << 17  # bytes read at once

# Bounds of the unpacked size. Repetitive text (a log, a list of names) packs at most 50 to 1 in these formats, a bomb
# 1000 to 1 and more. A small file may exceed the ratio, because it cannot fill a disk.
ALWAYS_ALLOWED = 1 << 28  # bytes
MAX_RATIO = 200

XZ_MEMORY = 1 << 28  # bytes; xz -9 needs a quarter of this


class Refused(Exception):
    """What is wrong with a file or an archive and how to fix it; :func:`explained` adds the place."""


DAMAGE = (gzip.BadGzipFile, zlib.error, lzma.LZMAError, zstd.ZstdError, tarfile.TarError, zipfile.BadZipFile)
READ_ERRORS = (Refused, EOFError, NotImplementedError, *DAMAGE, OSError)


def explained(error: Exception, place: object, where: str = "") -> UserError:
    """The :class:`UserError` for one of :data:`READ_ERRORS`; ``where`` is how far the file could be read."""
    match error:
        case Refused():
            return UserError(f"{place}: {error}")
        case EOFError():
            return UserError(f"{place}: the archive is truncated{where}; fetch it again")
        case NotImplementedError():
            return UserError(f"{place}: packed by an unsupported method ({error}); unpack it and pack it again")
        case _ if isinstance(error, DAMAGE) or getattr(error, "errno", None) is None:  # bz2 raises an OSError
            return UserError(f"{place}: damaged, cut off or not an archive{where} ({error}); fetch it again")
        case _:
            reason = getattr(error, "strerror", None) or error
            return UserError(f"{place}: cannot be read ({reason}); check the path and its permissions")


def unpack_limit(packed: int) -> int:
    """Bytes that a file of ``packed`` bytes may unpack to."""
    return max(ALWAYS_ALLOWED, MAX_RATIO * packed)


class BoundedReader(io.RawIOBase):
    """The blocks that ``read`` returns, up to ``limit`` bytes in all; more are :class:`Refused`."""

    def __init__(self, read: Callable[[int], bytes], limit: int):
        self._read = read
        self._limit = self._left = limit

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """As :class:`io.RawIOBase` defines it."""
        view = memoryview(buffer)
        block = self._read(len(view))
        self._left -= len(block)
        if self._left < 0:
            raise Refused(
                f"unpacks to more than {self._limit} bytes, as no text does; fetch it again, or if it is really that "
                "large, unpack it and name the unpacked file"
            )
        view[: len(block)] = block
        return len(block)


class StreamsReader(io.RawIOBase):
    """The content of an .xz or .bz2 file of one or more streams.

    ``lzma.LZMAFile`` and ``bz2.BZ2File`` silently end at a second stream whose header is damaged.

    Args:
        packed: the compressed file.
        decompressor: makes the decompressor of one stream.
    """

    def __init__(self, packed: IO[bytes], decompressor: Callable[[], Any]):
        self._packed, self._decompressor = packed, decompressor
        self._stream = decompressor()

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """As :class:`io.RawIOBase` defines it."""
        view = memoryview(buffer)
        content = b""
        while not content:
            packed = b""
            if self._stream.eof:
                packed = self._stream.unused_data.lstrip(b"\0")  # streams may be padded
                while not packed:
                    block = self._packed.read(BLOCK)
                    if not block:
                        return 0
                    packed = block.lstrip(b"\0")
                self._stream = self._decompressor()
            elif self._stream.needs_input:
                packed = self._packed.read(BLOCK)
                if not packed:
                    raise EOFError
            content = self._stream.decompress(packed, len(view))
        view[: len(content)] = content
        return len(content)


def _xz() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)


# first bytes, and what reads the content; after "BZh" and the block size comes the mark of a block, or of the end
BZIP2_STARTS = tuple(b"BZh%d" % size + mark for size in range(1, 10) for mark in (b"1AY&SY", b"\x17rE8P\x90"))
COMPRESSIONS: dict[bytes | tuple[bytes, ...], Callable[[IO[bytes]], Callable[[int], bytes]]] = {
    b"\x1f\x8b": lambda packed: gzip.GzipFile(fileobj=packed).read1,
    BZIP2_STARTS: lambda packed: StreamsReader(packed, bz2.BZ2Decompressor).read,
    b"\xfd7zXZ\x00": lambda packed: StreamsReader(packed, _xz).read,
    b"\x28\xb5\x2f\xfd": lambda packed: zstd.ZstdFile(packed).read1,
}


def unpacked(stream: io.BufferedReader, limit: int) -> io.BufferedReader:
    """The stream itself, or its unpacked content if it starts like a compressed file."""
    head = stream.peek(10)
    for magic, opened in COMPRESSIONS.items():
        if head.startswith(magic):
            return io.BufferedReader(BoundedReader(opened(stream), limit), BLOCK)
    return stream
