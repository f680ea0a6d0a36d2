r"""Stream the lines of a UTF-8 text in a plain or compressed file or in an archive.

A *place* is a path, or ``ARCHIVE::MEMBER`` for a text inside an archive, as in ``de-en.zip::Books.de-en.de``.
``decompression.py`` and ``archives.py`` describe what can be read and what is refused.

Lines end at ``\n`` alone. One ``\r`` before it (a file from Windows) and a byte-order mark at the start are removed;
nothing else is changed.
"""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ekd_nmt.common.errors import UserError
from ekd_nmt.corpus.archives import is_archive, open_member
from ekd_nmt.corpus.decompression import BLOCK, READ_ERRORS, Refused, explained, unpack_limit, unpacked

MEMBER_MARK = "::"  # between the archive's path and the member's name
BYTE_ORDER_MARK = "\ufeff"
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def open_text(place: str | Path, limit: int | None = None) -> Iterator[str]:
    r"""Yield the lines without their line ends, in constant memory.

    Args:
        place: a path, or ``ARCHIVE::MEMBER``, where MEMBER is a name or a pattern that matches one file of the archive.
        limit: bytes that the text and its archive may each unpack to; :func:`decompression.unpack_limit` if ``None``.

    Raises:
        UserError: the text does not exist or cannot be read; it is truncated, damaged, or not UTF-8 (the line is
            named); the archive lacks the member or is unsafe.
    """
    number = 0
    try:
        with _open_place(os.fspath(place), limit) as stream:
            for block in _blocks_of_lines(stream):
                text = _decoded(block, place, number)
                if number == 0:
                    text = text.removeprefix(BYTE_ORDER_MARK)
                lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
                number += len(lines)
                yield from lines
    except READ_ERRORS as error:
        raise explained(error, place, f" after line {number}" if number else "") from error


@contextmanager
def _open_place(place: str, limit: int | None) -> Iterator[io.BufferedReader]:
    archive, mark, member = place.partition(MEMBER_MARK)
    with open_member(archive, member, limit) if mark else open(place, "rb") as stream:
        if not mark:
            stream = unpacked(stream, unpack_limit(os.fstat(stream.fileno()).st_size) if limit is None else limit)
        if is_archive(stream):
            raise Refused(
                f"is an archive, not a text; name a text in it as ARCHIVE{MEMBER_MARK}MEMBER "
                "(an archive in an archive must be unpacked first)"
            )
        yield stream


def _blocks_of_lines(stream: io.BufferedReader) -> Iterator[bytes]:
    """Blocks of whole lines, the last one maybe without its line end; before an error, all lines read so far."""
    started: list[bytes] = []  # pieces of a line whose end is not read yet
    while block := stream.read1(BLOCK):
        end = block.rfind(b"\n") + 1
        if end:
            yield b"".join((*started, block[:end]))
            started = []
        started.append(block[end:])
    if rest := b"".join(started):
        yield rest


def _decoded(block: bytes, place: str | Path, lines_before: int) -> str:
    try:
        return block.decode("utf-8")
    except UnicodeDecodeError as error:
        if lines_before == 0 and block.startswith(UTF16_MARKS):
            raise UserError(f"{place}: is UTF-16, not UTF-8 text; convert it with iconv -f utf-16 -t utf-8") from error
        line = lines_before + block.count(b"\n", 0, error.start) + 1
        byte = error.start - block.rfind(b"\n", 0, error.start)
        raise UserError(
            f"{place}, line {line}: not UTF-8 (byte {byte}); "
            "convert the file, for example with iconv -f latin1 -t utf-8"
        ) from error
