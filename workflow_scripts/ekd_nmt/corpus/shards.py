"""Shards of an aligned corpus, as byte offsets: split without copying, read one at a time, with every line counted.

The index of the shards is a small JSON file beside the corpus. Parallel jobs read the same two files, each its own
shard, so splitting a corpus takes one pass over the text and no space.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import read_lines
from ekd_nmt.common.json_files import read_json

BLOCK = 1 << 20  # bytes


@dataclass(frozen=True)
class Shard:
    """Consecutive lines of both sides: how many, the number of the first one (from 1), and their byte ranges."""

    lines: int
    first: int
    start: tuple[int, int]
    end: tuple[int, int]

    def read(self, side: int, path: str | Path) -> Iterator[str]:
        """Yield the lines of the source (0) or target side (1); raises as :func:`read_lines` does."""
        return read_lines(path, self.start[side], self.end[side], self.first)


class Index(TypedDict):
    """Content of an index file."""

    lines: int  # of the whole corpus
    shards: list[Shard]


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


def make_shards(source: str | Path, target: str | Path, count: int) -> list[Shard]:
    """Divide two aligned files into ``count`` shards whose numbers of lines differ by one at most; some may be empty.

    Raises:
        UserError: ``count`` is not positive, a file cannot be read or is empty, or the sides differ in length.
    """
    if count < 1:
        raise UserError(f"--shards {count}: must be at least 1")
    lengths = [count_lines(path) for path in (source, target)]
    if lengths[0] != lengths[1]:
        raise UserError(f"{source} has {lengths[0]} lines but {target} has {lengths[1]}; both sides must match by line")
    if not lengths[0]:
        raise UserError(f"{source} and {target} are empty; check the step that writes them")
    bounds = [lengths[0] * number // count for number in range(count + 1)]
    offsets = list(zip(*(line_offsets(path, bounds) for path in (source, target)), strict=True))
    return [
        Shard(bounds[n + 1] - bounds[n], bounds[n] + 1, tuple(offsets[n]), tuple(offsets[n + 1])) for n in range(count)
    ]


def line_offsets(path: str | Path, bounds: Sequence[int]) -> list[int]:
    """Byte offset after the first n lines, for each n of ``bounds``, which ascend from 0 to the length of the file."""
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


def to_index(shards: Sequence[Shard]) -> dict[str, Any]:
    """Content of an index file, in JSON's types."""
    return {"lines": sum(shard.lines for shard in shards), "shards": [asdict(shard) for shard in shards]}


def read_index(path: Path) -> list[Shard]:
    """The shards of an index file.

    Raises:
        UserError: the file cannot be read, or is not an index.
    """
    return read_json(path, Index, fix="write it again with shard_corpus.py")["shards"]


def add_shard_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that restrict a step to one shard of a corpus."""
    parser.add_argument(
        "--shards", type=Path, metavar="JSON", help="index of the shards, from shard_corpus.py or join_shards.py"
    )
    parser.add_argument("--shard", type=int, metavar="N", help="number of the shard, from 0; default: the whole corpus")


def selected_shard(arguments: argparse.Namespace) -> Shard | None:
    """The shard that these options name; ``None`` for the whole corpus.

    Raises:
        UserError: the index has no such shard, it cannot be read, or one option is given without the other.
    """
    path, number = arguments.shards, arguments.shard
    if (path is None) != (number is None):
        raise UserError("--shard and --shards belong together; give both, or neither for the whole corpus")
    if path is None:
        return None
    shards = read_index(path)
    if not 0 <= number < len(shards):
        raise UserError(f"--shard {number}: {path} has shards 0 to {len(shards) - 1}")
    return shards[number]


def read_sides(shard: Shard | None, source: str | Path, target: str | Path) -> list[Iterator[str]]:
    """The lines of both sides, of a shard or of the whole corpus; raises as :func:`read_lines` does."""
    return [read_lines(path) if shard is None else shard.read(side, path) for side, path in enumerate((source, target))]


def blocks(path: str | Path) -> Iterator[bytes]:
    """Yield the bytes of a file in blocks; :class:`UserError` if it cannot be read."""
    try:
        with open(path, "rb") as handle:
            while block := handle.read(BLOCK):
                yield block
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
