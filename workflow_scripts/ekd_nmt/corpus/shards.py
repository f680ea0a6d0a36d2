"""Parts of an aligned corpus, by byte offsets: cut without copying, read one by one, joined with every line counted.

The index of a cut is a small JSON file beside the corpus. Several jobs then read the same two files, each its own part,
so that cutting costs one pass over the text and no space.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import read_lines

BLOCK = 1 << 20  # bytes


@dataclass(frozen=True)
class Part:
    """Consecutive lines of both sides: how many, the number of the first one (from 1), and where they lie in bytes."""

    lines: int
    first: int
    start: tuple[int, int]
    end: tuple[int, int]

    def read(self, side: int, path: str | Path) -> Iterator[str]:
        """Yield the lines of the source (0) or target side (1); raises as :func:`cli.read_lines` does."""
        return read_lines(path, self.start[side], self.end[side], self.first)


def count_lines(path: str | Path) -> int:
    r"""Number of lines; a last one without its ``\n`` counts.

    Raises:
        UserError: the file cannot be read.
    """
    lines, last = 0, b"\n"
    for block in blocks(path):
        lines += block.count(b"\n")
        last = block[-1:]
    return lines + (last != b"\n")


def cut(source: str | Path, target: str | Path, count: int) -> list[Part]:
    """Cut two aligned files into ``count`` parts of the same number of lines, give or take one; some may be empty.

    Raises:
        UserError: ``count`` is not positive, a file cannot be read or is empty, or the sides differ in length.
    """
    if count < 1:
        raise UserError(f"--parts {count}: must be at least 1")
    lengths = [count_lines(path) for path in (source, target)]
    if lengths[0] != lengths[1]:
        raise UserError(f"{source} has {lengths[0]} lines but {target} has {lengths[1]}; both sides must match by line")
    if not lengths[0]:
        raise UserError(f"{source} and {target} are empty; there is nothing to cut")
    bounds = [lengths[0] * number // count for number in range(count + 1)]
    offsets = list(zip(*(offsets_behind(path, bounds) for path in (source, target)), strict=True))
    return [
        Part(bounds[n + 1] - bounds[n], bounds[n] + 1, tuple(offsets[n]), tuple(offsets[n + 1])) for n in range(count)
    ]


def offsets_behind(path: str | Path, bounds: Sequence[int]) -> list[int]:
    """Byte offset behind each of these numbers of lines, which ascend from 0 to that of the whole file."""
    found: list[int] = []
    lines = position = 0  # before the present block
    for block in blocks(path):
        inside = block.count(b"\n")
        at = seen = 0  # within the block
        while len(found) < len(bounds) and bounds[len(found)] <= lines + inside:
            while lines + seen < bounds[len(found)]:
                at = block.index(b"\n", at) + 1
                seen += 1
            found.append(position + at)
        lines += inside
        position += len(block)
    return found + [position] * (len(bounds) - len(found))  # a last line without its line end


def index(parts: Sequence[Part]) -> dict[str, Any]:
    """What :func:`load` reads back, as plain JSON types."""
    return {"lines": sum(part.lines for part in parts), "parts": [asdict(part) for part in parts]}


def load(path: str | Path) -> list[Part]:
    """Read an index.

    Raises:
        UserError: the file cannot be read, or is no index.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        return [
            Part(part["lines"], part["first"], tuple(part["start"]), tuple(part["end"])) for part in content["parts"]
        ]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); make it with cut.py") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: is no index of parts ({error}); make it anew with cut.py") from error


def find(path: str | Path, number: int) -> Part:
    """One part of an index, by its number from 0.

    Raises:
        UserError: as :func:`load`, or the index has no such part.
    """
    parts = load(path)
    if not 0 <= number < len(parts):
        raise UserError(f"--part {number}: {path} has parts 0 to {len(parts) - 1}")
    return parts[number]


def add_part_options(parser: argparse.ArgumentParser) -> None:
    """Add the options with which a step works on one part of a corpus."""
    parser.add_argument("--parts", type=Path, metavar="JSON", help="index of parts, from cut.py or join.py")
    parser.add_argument("--part", type=int, metavar="N", help="the part to work on, from 0; without it the whole")


def chosen(arguments: argparse.Namespace) -> Part | None:
    """The part that these options name; ``None`` is the whole corpus.

    Raises:
        UserError: as :func:`find`, or one option comes without the other.
    """
    if (arguments.part is None) != (arguments.parts is None):
        raise UserError("--part and --parts belong together; give both, or neither for the whole corpus")
    return None if arguments.part is None else find(arguments.parts, arguments.part)


def read_sides(part: Part | None, source: str | Path, target: str | Path) -> list[Iterator[str]]:
    """The lines of both sides, of a part or of the whole; raises as :func:`cli.read_lines` does."""
    return [read_lines(path) if part is None else part.read(side, path) for side, path in enumerate((source, target))]


def blocks(path: str | Path) -> Iterator[bytes]:
    """Yield the bytes of a file, piece by piece; :class:`UserError` if it cannot be read."""
    try:
        with open(path, "rb") as handle:
            while block := handle.read(BLOCK):
                yield block
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
