"""Decompress files that are not trusted: .gz, .xz and .zst, bounded in what they unpack to.

Kinds are recognised by their first bytes, never by a name. A checksum that does not fit, or an end that is missing, is
an error.
"""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from typing import IO

from backports import zstd

from ekd_nmt.common.errors import UserError

BLOCK = 1 << 17  # bytes read at once

# What one file may unpack to. Text of many repetitions (a log, a list of names) packs 50 to 1 at most with any of the
# methods here, where a bomb packs 1000 to 1 and more. A small file may exceed the ratio and fill no disk.
ALWAYS_ALLOWED = 1 << 28  # bytes
MAX_RATIO = 200

XZ_MEMORY = 1 << 28  # bytes; xz -9 needs a quarter of this


class Refused(Exception):
    """What is wrong with a file or an archive and what to do; :func:`explained` adds the place."""


DAMAGE = (gzip.BadGzipFile, zlib.error, lzma.LZMAError, zstd.ZstdError, tarfile.TarError, zipfile.BadZipFile)
READ_ERRORS = (Refused, EOFError, NotImplementedError, *DAMAGE, OSError)


def explained(error: Exception, place: object, where: str = "") -> UserError:
    """The :class:`UserError` for one of :data:`READ_ERRORS`; ``where`` tells how far reading came."""
    match error:
        case Refused():
            return UserError(f"{place}: {error}")
        case EOFError():
            return UserError(f"{place}: the archive is truncated{where}; fetch it again")
        case NotImplementedError():
            return UserError(f"{place}: packed by a method that cannot be read here ({error}); unpack and pack it anew")
        case _ if isinstance(error, DAMAGE):
            return UserError(f"{place}: damaged, cut off or not an archive{where} ({error}); fetch it again")
        case _:
            reason = getattr(error, "strerror", None) or error
            return UserError(f"{place}: cannot be read ({reason}); check the path and its permissions")


def unpack_limit(packed: int) -> int:
    """Bytes that a file of ``packed`` bytes may unpack to."""
    return max(ALWAYS_ALLOWED, MAX_RATIO * packed)


class BoundedReader(io.RawIOBase):
    """What ``read`` gives, block by block, up to ``limit`` bytes; more than that are :class:`Refused`."""

    def __init__(self, read: Callable[[int], bytes], limit: int):
        self._read = read
        self._limit = self._left = limit

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: memoryview) -> int:
        """As :class:`io.RawIOBase` defines it."""
        block = self._read(len(buffer))
        self._left -= len(block)
        if self._left < 0:
            raise Refused(
                f"unpacks to more than {self._limit} bytes, as no text does; fetch it again, or if it is meant to be "
                "so, unpack it and name the unpacked file"
            )
        buffer[: len(block)] = block
        return len(block)


class XzReader(io.RawIOBase):
    """The content of an .xz file of one stream or more.

    ``lzma.LZMAFile`` takes a second stream whose header is damaged for the end of the file, and says nothing.
    """

    def __init__(self, packed: IO[bytes]):
        self._packed = packed
        self._start_stream()

    def _start_stream(self) -> None:
        self._stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: memoryview) -> int:
        """As :class:`io.RawIOBase` defines it."""
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
                self._start_stream()
            elif self._stream.needs_input:
                packed = self._packed.read(BLOCK)
                if not packed:
                    raise EOFError
            content = self._stream.decompress(packed, len(buffer))
        buffer[: len(content)] = content
        return len(content)


COMPRESSIONS: dict[bytes, Callable[[IO[bytes]], Callable[[int], bytes]]] = {
    b"\x1f\x8b": lambda packed: gzip.GzipFile(fileobj=packed).read1,
    b"\xfd7zXZ\x00": lambda packed: XzReader(packed).read,
    b"\x28\xb5\x2f\xfd": lambda packed: zstd.ZstdFile(packed).read1,
}


def unpacked(stream: io.BufferedReader, limit: int) -> io.BufferedReader:
    """The stream itself, or what it unpacks to if it starts as a compressed file does."""
    head = stream.peek(8)
    for magic, opened in COMPRESSIONS.items():
        if head.startswith(magic):
            return io.BufferedReader(BoundedReader(opened(stream), limit), BLOCK)
    return stream
