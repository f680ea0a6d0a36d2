"""Read untrusted archives: .zip, and .tar, plain or compressed in any way that ``decompression.py`` supports.

Nothing is extracted to disk: members are read in order, so no name or link in an archive can reach a path of this
machine. The unpacked size is limited, and damage after the wanted member is found too.
"""

from __future__ import annotations

import difflib
import io
import os
import posixpath
import stat
import tarfile
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import NamedTuple, Self

from ekd_nmt.corpus.decompression import BLOCK, READ_ERRORS, BoundedReader, Refused, explained, unpack_limit, unpacked

ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")  # the second starts an archive without members
TAR_MAGIC, TAR_MAGIC_OFFSET = b"ustar", 257


class Member(NamedTuple):
    """One entry of an archive, with its normalised name; ``open`` is ``None`` for a folder."""

    name: str
    open: Callable[[], io.BufferedReader] | None


def is_archive(stream: io.BufferedReader) -> bool:
    """Whether a decompressed stream starts like a .zip or a .tar."""
    head = stream.peek(tarfile.BLOCKSIZE)
    return head.startswith(ZIP_MAGICS) or head.startswith(TAR_MAGIC, TAR_MAGIC_OFFSET)


def members(file: io.BufferedReader, limit: int) -> Iterator[Member]:
    """The entries of an archive in their order; each must be read before the next is taken.

    Raises:
        Refused: the archive unpacks to more than ``limit`` bytes, or contains a link, a device or a path outside.
    """
    return (_zip_members if file.peek(4).startswith(ZIP_MAGICS) else _tar_members)(file, limit)


class _TarHeader(tarfile.TarInfo):
    """A header whose damage is an error; ``tarfile`` itself takes a damaged or missing header for the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """As :class:`tarfile.TarInfo` defines it."""
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise  # the end of the archive
            raise tarfile.ReadError(str(error)) from error


def _tar_members(file: io.BufferedReader, limit: int) -> Iterator[Member]:
    stream = unpacked(file, limit)
    with tarfile.open(fileobj=stream, mode="r|", bufsize=BLOCK, tarinfo=_TarHeader) as archive:

        def opened(item: tarfile.TarInfo) -> io.BufferedReader:
            content = archive.extractfile(item)
            assert isinstance(content, io.BufferedReader)  # of a regular file
            return content

        for item in archive:
            # a sparse file of a few bytes can have any size in its header, and tarfile fills it with zeros
            usual = item.isdir() or (item.isreg() and not item.issparse())
            name = _safe_name(item.name, usual)
            yield Member(name, None if item.isdir() else partial(opened, item))
    while stream.read1(BLOCK):  # verifies the checksum at the end of the compressed stream
        pass


def _zip_members(file: io.BufferedReader, limit: int) -> Iterator[Member]:
    with zipfile.ZipFile(file) as archive:

        def opened(item: zipfile.ZipInfo) -> io.BufferedReader:
            if item.flag_bits & 1:
                raise Refused(f"member {item.filename!r} is encrypted; unpack it and name the unpacked file")
            content = archive.open(item)
            assert isinstance(content, zipfile.ZipExtFile)
            return io.BufferedReader(BoundedReader(content.read1, limit), BLOCK)

        items = archive.infolist()
        types = [stat.S_IFMT(item.external_attr >> 16) for item in items]  # 0 if it was not made on Unix
        usual = (0, stat.S_IFREG, stat.S_IFDIR)
        names = [_safe_name(item.filename, kind in usual) for item, kind in zip(items, types, strict=True)]
        for name, item in zip(names, items, strict=True):
            yield Member(name, None if item.is_dir() else partial(opened, item))


def _safe_name(name: str, usual: bool) -> str:
    path = PureWindowsPath(name)  # understands both slashes, and drives
    if not usual:
        problem = "is a link, a device or the like"
    elif path.anchor or ".." in path.parts:
        problem = "leads outside the archive"
    else:
        return posixpath.normpath(name)
    raise Refused(f"member {name!r} {problem}; do not trust this copy, fetch it again")


@contextmanager
def open_member(archive: str | Path, wanted: str, limit: int | None = None) -> Iterator[io.BufferedReader]:
    """Open the one regular file of an archive that ``wanted`` names, decompressed if it is itself compressed.

    If the block ends without an error, the rest of the archive is read, so that damage after the member is noticed;
    of a .zip only the member's own checksum is verified.

    Args:
        archive: the file.
        wanted: a name, or an ``fnmatch`` pattern, whose ``*`` also matches slashes.
        limit: bytes that archive and member may each unpack to; :func:`unpack_limit` if ``None``.

    Raises:
        One of :data:`READ_ERRORS`. :class:`Refused` as :func:`members`, and if no file or more than one matches.
    """
    with open(archive, "rb") as file:
        limit = unpack_limit(os.fstat(file.fileno()).st_size) if limit is None else limit
        names = []
        found = None
        for name, opened in members(file, limit):
            if opened is None:
                continue
            names.append(name)
            if name == wanted or fnmatchcase(name, wanted):
                if found is not None:
                    raise Refused(f"has both {found!r} and {name!r}; name the one that is meant")
                found = name
                with opened() as content:
                    yield unpacked(content, limit)
        if found is None:
            raise Refused(_lacking(wanted, names))


def _lacking(wanted: str, names: list[str]) -> str:
    """The message for a missing member, with the other languages of the same name, or the nearest names."""
    stem, dot, _ = wanted.rpartition(".")
    ends = {end for start, _, end in (name.rpartition(".") for name in names) if dot and fnmatchcase(start, stem)}
    if ends:
        there = ", ".join(f".{end}" for end in sorted(ends))
        return f"has no such member; of {stem} it has {there}; fix the language or the name"
    nearest = difflib.get_close_matches(wanted, names, n=5, cutoff=0)
    more = f" and {len(names) - len(nearest)} more" if len(names) > len(nearest) else ""
    return f"has no such member; it has {', '.join(nearest) or 'none'}{more}; fix the name or take another archive"


def read_members(
    archive: Path, wanted: Collection[str], limit: int | None = None
) -> tuple[dict[str, bytes], list[str]]:
    """Read the wanted files of an archive into memory; the whole archive is read and its checksum verified.

    Args:
        archive: the file.
        wanted: names of members, such as ``de-en/train.tags.de-en.de``.
        limit: bytes that the whole archive may unpack to, headers included; :func:`unpack_limit` if ``None``.

    Returns:
        Name → content of the wanted files that exist, and the names of all members.

    Raises:
        UserError: the archive cannot be read, is truncated, damaged or too large, or contains a link, a device or a
            path outside.
    """
    contents: dict[str, bytes] = {}
    names = []
    try:
        with open(archive, "rb") as file:
            limit = unpack_limit(os.fstat(file.fileno()).st_size) if limit is None else limit
            for name, opened in members(file, limit):
                names.append(name)
                if name in wanted and opened is not None:
                    with opened() as content:
                        contents[name] = content.read()
    except READ_ERRORS as error:
        raise explained(error, archive) from error
    return contents, names
