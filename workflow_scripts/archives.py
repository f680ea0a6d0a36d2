"""Read files out of a .tgz archive that is not trusted.

Nothing is extracted to disk: members are read one by one into memory, so no name or link in an archive can reach a
path of this machine, and what the archive unpacks to is bounded.
"""

from __future__ import annotations

import gzip
import posixpath
import tarfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import IO

from cli import UserError

MAX_BYTES = 1 << 29  # the largest archive in the manifest unpacks to about an eighth of this


class BoundedReader:
    """The read side of a stream, for ``tarfile``; refuses to give more than ``limit`` bytes in all."""

    def __init__(self, stream: IO[bytes], limit: int):
        self._stream = stream
        self._limit = limit
        self._left = limit

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes; :class:`UserError` once there were more than the limit."""
        block = self._stream.read(size)
        self._left -= len(block)
        if self._left < 0:
            raise UserError(f"unpacks to more than {self._limit} bytes; it is not the published file, fetch it again")
        return block


def read_members(archive: Path, wanted: Collection[str], limit: int = MAX_BYTES) -> tuple[dict[str, bytes], list[str]]:
    """Read the wanted files of a ``.tgz``; the whole archive is read and its checksum verified.

    Args:
        archive: the file.
        wanted: names of members, such as ``de-en/train.tags.de-en.de``.
        limit: bytes that the whole archive may unpack to, headers included.

    Returns:
        Name → content of those that are there, and the names of all members.

    Raises:
        UserError: the archive cannot be read, is truncated, damaged or too large, or has a member that no archive of
            text needs: a link, a device, a path that leads outside.
    """
    contents: dict[str, bytes] = {}
    names = []
    try:
        with gzip.open(archive) as unzipped:
            stream = BoundedReader(unzipped, limit)
            with tarfile.open(fileobj=stream, mode="r|") as members:
                for member in members:
                    _refuse_unsafe(member)
                    name = posixpath.normpath(member.name)
                    names.append(name)
                    if name in wanted:
                        contents[name] = _content(members, member)
            while stream.read(1 << 16):  # gzip verifies its checksum at the very end
                pass
    except UserError as error:
        raise UserError(f"{archive}: {error}") from error
    except EOFError as error:
        raise UserError(f"{archive}: the archive is truncated; fetch it again") from error
    except (gzip.BadGzipFile, zlib.error, tarfile.TarError) as error:
        raise UserError(f"{archive}: damaged, or not a .tgz archive ({error}); fetch it again") from error
    except OSError as error:
        raise UserError(f"{archive}: cannot be read ({error.strerror}); check the path and its permissions") from error
    return contents, names


def _refuse_unsafe(member: tarfile.TarInfo) -> None:
    if not (member.isreg() or member.isdir()):
        problem = "is a link, a device or the like"
    elif posixpath.isabs(member.name) or ".." in member.name.split("/"):
        problem = "leads outside the archive"
    else:
        return
    raise UserError(f"member {member.name!r} {problem}; do not trust this copy, fetch it again")


def _content(members: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = members.extractfile(member)
    content = b"" if file is None else file.read()  # None: a folder of that name
    if len(content) != member.size:
        raise EOFError(member.name)
    return content
