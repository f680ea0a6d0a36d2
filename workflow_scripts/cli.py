"""What every command-line step shares: one-line errors, atomic writes, strict line reading.

A step raises :class:`UserError` for anything its caller can mend; :func:`run` prints it as one line on standard error
and exits with status 2. Programming errors keep their traceback and exit with status 1.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn

SPLITS = ("train", "valid", "test")
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # disk, quota, or file size limit; these carry no path
EXIT_INTERRUPTED = 75  # EX_TEMPFAIL of sysexits.h: not finished, progress saved, run it again
_GOES_ON = f"(exit status {EXIT_INTERRUPTED})"
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)  # asked to stop: by a user, by a cluster


class UserError(Exception):
    """Something the user can mend. The message says what is wrong, where, and what to do, in one line."""


def run(main: Callable[[], None]) -> None:
    """Call ``main``; turn a :class:`UserError` into ``error: …`` on standard error and exit status 2.

    So are errors of the file system (no space, no permission), which carry their path. SIGTERM ends the step as an
    exception does, so that temporary files are removed on the way out.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        main()
    except UserError as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.filename is None and error.errno not in NO_ROOM:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror}; make room or mend the permissions, and run again", file=sys.stderr)
        sys.exit(2)


def say(line: str) -> None:
    """Tell the reader of the log, with the time."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def leave_unfinished(reason: str) -> NoReturn:
    """Tell the reader of the log why this step ends, that it can go on, and end it with the status that says so."""
    say(f"{reason}; run the same command again to go on {_GOES_ON}")
    sys.exit(EXIT_INTERRUPTED)


def leave_for_signal(number: int, frame: Any = None) -> NoReturn:
    """End this process for a stop signal, its progress being saved; a handler of signals."""
    leave_unfinished(f"{signal.Signals(number).name}: progress is saved")


Handler = Callable[[int, Any], Any] | signal.Handlers


def handle_stop_signals(handler: Handler) -> dict[signal.Signals, Any]:
    """Handle all stop signals so; returns the handlers that they had."""
    return {number: signal.signal(number, handler) for number in STOP_SIGNALS}


@contextmanager
def stop_signals_handled(handler: Handler) -> Iterator[None]:
    """Handle all stop signals so for the time of a block, and give back the handlers that they had."""
    previous = handle_stop_signals(handler)
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


@contextmanager
def stopping_between_batches() -> Iterator[Callable[[], None]]:
    """Let stop signals wait for the next batch; gives what to call before each, which leaves if one has come.

    So does the end of the block.
    """
    asked: list[int] = []

    def check() -> None:
        if asked:
            leave_for_signal(asked[0])

    with stop_signals_handled(lambda number, frame: asked.append(number)):
        yield check
        check()


def finish_undisturbed() -> None:
    """Ignore stop signals from here to the end of this process; to be called just before its result is put in place.

    A step that left with another status than 0 after that would have its result deleted by Snakemake, when the progress
    from which it was made is gone already. A signal that came before is heeded if its handler leaves at once.
    """
    handle_stop_signals(signal.SIG_IGN)


def above_zero(flag: str, kind: type, what: str) -> Callable[[str], Any]:
    """A parser of finite numbers above 0, which raises :class:`UserError` for all else."""

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise UserError(f"{flag}: needs {what} above 0, got {text!r}; correct it")
        return value

    return parse


def prepend_to_path(folder: Path) -> None:
    """Let the commands that this process starts find the programs of ``folder`` first."""
    os.environ["PATH"] = os.pathsep.join([str(folder), os.environ.get("PATH", os.defpath)])


def error_lines(logs: Iterable[Path], since: float) -> list[str]:
    """What the logs written after a time (seconds since the epoch) have to tell the user, each with its log's path.

    That is their ``error:`` lines, and those of steps that were interrupted and can go on.
    """
    found = []
    for path in logs:
        if path.stat().st_mtime >= since:
            text = path.read_text(encoding="utf-8", errors="replace")
            told = [line for line in text.splitlines() if line.startswith("error: ") or _GOES_ON in line]
            found += [f"{line}  [{path}]" for line in told]
    return found


def read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object of a file, or None if there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def json_argument(text: str) -> Any:
    """Parse a JSON command-line value; ``@path`` reads it from a file instead.

    Raises:
        UserError: the text or the file is not JSON, or the file cannot be read.
    """
    try:
        return json.loads(Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text)
    except (OSError, ValueError) as error:
        raise UserError(f"expected JSON or @FILE, got {text[:80]!r} ({error}); pass a JSON object") from error


@contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside ``path``; rename it into place on success, remove it on any error.

    Text is UTF-8 with ``\\n`` line ends on every platform.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
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
