"""Files: atomic writes, strict line reading, checksums, JSON."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ekd_nmt.common.errors import UserError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # disk, quota, or file size limit; these carry no path


@contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside ``path``; rename it into place on success, remove it on any error.

    Text is UTF-8 with ``\\n`` line ends on every platform.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, mode, **text) as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        # mkstemp creates private files; results are for sharing, so give them what open() would have given
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically."""
    with atomic_write(path) as handle:
        json.dump(value, handle, indent=2, ensure_ascii=False)
        handle.write("\n")


def write_lines(path: str | Path, lines: Iterable[str]) -> None:
    """Write one line an item, atomically."""
    with atomic_write(path) as handle:
        handle.writelines(f"{line}\n" for line in lines)


def read_lines(path: str | Path, start: int = 0, end: int | None = None, number: int = 1) -> Iterator[str]:
    r"""Yield the lines of a UTF-8 file, or of a part of it, without their ``\n``.

    Lines end at ``\n`` alone: U+2028, U+0085, ``\r`` and form feeds inside a sentence do not shift the alignment.

    Args:
        path: the file.
        start: byte at which the first line begins.
        end: byte at which to stop, the beginning of a line; ``None`` is the end of the file.
        number: of the first line, for messages.

    Raises:
        UserError: the file cannot be read, or a line is not UTF-8 (the line is named).
    """
    try:
        with open(path, "rb") as handle:
            if start:  # a pipe cannot be positioned
                handle.seek(start)
            left = sys.maxsize if end is None else end - start
            while left > 0 and (line := handle.readline()):
                left -= len(line)
                try:
                    yield line.removesuffix(b"\n").decode("utf-8")
                except UnicodeDecodeError as error:
                    raise UserError(
                        f"{path}, line {number}: not UTF-8 (byte {error.start + 1}); "
                        "convert the file, for example with iconv -f latin1 -t utf-8"
                    ) from error
                number += 1
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{path}: cannot be read ({reason}); check the path and its permissions") from error


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
