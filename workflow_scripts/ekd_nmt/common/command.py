"""What all commands share: one-line errors, parsers of arguments, revisions.

A command raises :class:`UserError` for anything its caller can fix. :func:`run` prints it as one line on standard error
and exits with status 2. Programming errors keep their traceback and exit with status 1.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import NO_ROOM


def run(main: Callable[[], None]) -> None:
    """Call ``main``; print a :class:`UserError` as ``error: …`` on standard error and exit with status 2.

    The same holds for errors of the file system (no space, no permission), which carry their path. SIGTERM ends the
    command as an exception does, so that temporary files are removed.
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
        print(f"error: {where}{error.strerror}; make room or fix the permissions, and run again", file=sys.stderr)
        sys.exit(2)


def revision(command: str) -> int:
    """The ``REVISION`` of a command. The file is read, not imported: imports take long and may have side effects."""
    source = (Path(__file__).parents[2] / f"{command}.py").read_text(encoding="utf-8")
    return int(re.findall(r"^REVISION = ([0-9]+)", source, re.MULTILINE)[0])


def positive_number(flag: str, kind: type, what: str) -> Callable[[str], Any]:
    """A parser of finite numbers above 0. It raises :class:`UserError` for everything else."""

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
    """Put ``folder`` first on PATH for the commands that this process starts."""
    os.environ["PATH"] = os.pathsep.join([str(folder), os.environ.get("PATH", os.defpath)])


def json_argument(text: str) -> Any:
    """Parse a JSON command-line value; ``@path`` reads it from a file instead.

    Raises:
        UserError: the text or the file is not JSON, or the file cannot be read.
    """
    try:
        return json.loads(Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text)
    except (OSError, ValueError) as error:
        raise UserError(f"expected JSON or @FILE, got {text[:80]!r} ({error}); pass a JSON object") from error
