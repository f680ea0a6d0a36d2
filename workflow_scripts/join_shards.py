"""Join the shards of a corpus in order, count every line, and drop duplicates on request.

Each shard comes as two aligned files and a report. A shard must have as many lines as its report gives, and together
with the dropped ones as many as the index (``--shards``) gives, so that no job loses or repeats a line unnoticed. The
numbers of all reports are added up to one report.

``--deduplicate`` keeps the first of equal pairs. Its memory is one bit a line, up to 134 million pairs: digests of the
pairs are written to files by their first bytes, so that equal pairs share a file, and each file is sorted by itself.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Annotated, Any

import numpy
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from ekd_nmt.common.command import run
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import atomic_write, write_json
from ekd_nmt.common.json_files import read_json
from ekd_nmt.corpus import shards
from ekd_nmt.corpus.line_counts import LineCounts, all_dropped, histogram

REVISION = 1  # of what this command writes: raise it when the same input gives another output

BUCKETED = 1 << 18  # pairs in a bucket, about; each takes 24 bytes and as much again for sorting
MOST_BUCKETS = 512
BUFFER = 1 << 12  # records of a bucket that are written at a time; few, because there are many buckets
FIX = "run the step that writes the shards again"
RECORD = numpy.dtype([("high", ">u8"), ("low", ">u8"), ("line", "<u8")])

Paths = Sequence[Path]
Pair = tuple[bytes, bytes]  # source and target line, each with its line end


@with_config(ConfigDict(extra="allow"))
class Report(TypedDict):
    """The report of a step on one shard; its other numbers are added up as they are."""

    accounts: Annotated[list[LineCounts], Field(min_length=1)]


def add_up(values: Sequence[Any]) -> Any:
    """Add up reports of the same shape, number by number.

    Dictionaries are merged, lists are added element by element, and texts must be equal.

    Raises:
        ValueError: the shapes or the texts differ.
    """
    first = values[0]
    if isinstance(first, dict):
        keys = dict.fromkeys(key for value in values for key in value)
        return {key: add_up([value[key] for value in values if key in value]) for key in keys}
    if isinstance(first, list):
        return [add_up(column) for column in zip(*values, strict=True)]
    if isinstance(first, int):
        return sum(values)
    if any(value != first for value in values):
        raise ValueError(f"{sorted({str(value) for value in values})} differ between shards")
    return first


def check_counts(index: Sequence[shards.Shard], reports: Sequence[Report]) -> None:
    """Check that every shard was read completely, and that every dropped line was counted.

    Raises:
        UserError: the number of shards, or the lines of one, differ from the index.
    """
    if len(index) != len(reports):
        raise UserError(f"the index has {len(index)} shards but {len(reports)} are given; {FIX}")
    for number, (shard, report) in enumerate(zip(index, reports, strict=True)):
        counts = report["accounts"][0]
        if counts["lines_in"] != shard.lines or counts["lines_out"] + sum(counts["dropped"].values()) != shard.lines:
            raise UserError(f"shard {number} has {shard.lines} lines but its report has {counts}; {FIX}")


def read_pairs(sources: Paths, targets: Paths, expected: Sequence[int]) -> Iterator[Pair]:
    """Yield the pairs of all shards in order, as bytes with their line ends.

    Raises:
        UserError: a side of a shard cannot be read or has another number of lines than expected.
    """
    for source, target, lines in zip(sources, targets, expected, strict=True):
        count = 0
        try:
            with open(source, "rb") as source_in, open(target, "rb") as target_in:
                for pair in zip(source_in, target_in, strict=True):
                    count += 1
                    yield pair
        except ValueError:  # one side is longer
            count = -1
        except OSError as error:
            raise UserError(f"{error.filename}: cannot be read ({error.strerror}); {FIX}") from error
        if count != lines:
            raise UserError(f"{source} and {target} must both have {lines} lines, and do not; {FIX}")


def copy(sources: Paths, targets: Paths, expected: Sequence[int], outputs: tuple[IO[bytes], IO[bytes]]) -> None:
    """Write the shards one after the other; raises as :func:`read_pairs` does."""
    for source, target, lines in zip(sources, targets, expected, strict=True):
        for path, output in zip((source, target), outputs, strict=True):
            count = 0
            for block in shards.blocks(path):
                count += block.count(b"\n")
                output.write(block)
            if count != lines:
                raise UserError(f"{path} must have {lines} lines and has {count}; {FIX}")


def repeated(pairs: Iterator[Pair], total: int, folder: Path) -> numpy.ndarray:
    """Mark the pairs that repeat an earlier one: one bit for each pair, packed, the first pair in the lowest bit.

    Args:
        pairs: all pairs, in order.
        total: their number.
        folder: for temporary files, 24 bytes a pair.
    """
    bits = numpy.zeros(total // 8 + 1, dtype=numpy.uint8)
    for records in _bucketed(pairs, total, folder):
        order = numpy.lexsort((records["low"], records["high"]))  # stable: equal digests stay in order of their lines
        ordered = records[order]
        again = (ordered["high"][1:] == ordered["high"][:-1]) & (ordered["low"][1:] == ordered["low"][:-1])
        lines = ordered["line"][1:][again].astype(numpy.int64)
        numpy.bitwise_or.at(bits, lines // 8, (1 << (lines % 8)).astype(numpy.uint8))
    return bits


def _bucketed(pairs: Iterator[Pair], total: int, folder: Path) -> Iterator[numpy.ndarray]:
    """Yield the records of each bucket. Equal pairs have the same 128-bit digest, hence the same bucket."""
    count = min(MOST_BUCKETS, total // BUCKETED + 1)
    buffers: list[bytearray] = [bytearray() for _ in range(count)]
    paths = [folder / f"{number}.bucket" for number in range(count)]

    def flush(number: int) -> None:
        with paths[number].open("ab") as handle:
            handle.write(buffers[number])
        buffers[number].clear()

    for line, (source, target) in enumerate(pairs):
        digest = hashlib.blake2b(source + target, digest_size=16).digest()
        number = int.from_bytes(digest[:4], "big") * count >> 32
        buffers[number] += digest + line.to_bytes(8, "little")
        if len(buffers[number]) >= BUFFER * RECORD.itemsize:
            flush(number)
    for number, path in enumerate(paths):
        flush(number)
        yield numpy.fromfile(path, dtype=RECORD)
        path.unlink()


def write_distinct(
    pairs: Iterator[Pair], duplicate: numpy.ndarray, outputs: tuple[IO[bytes], IO[bytes]]
) -> tuple[int, tuple[Counter[int], Counter[int]]]:
    """Write the pairs whose bit is not set; return how many were dropped, and the lengths of both sides in tokens."""
    dropped = 0
    lengths: tuple[Counter[int], Counter[int]] = (Counter(), Counter())
    for line, pair in enumerate(pairs):
        if duplicate[line >> 3] >> (line & 7) & 1:
            dropped += 1
            continue
        for output, counter, text in zip(outputs, lengths, pair, strict=True):
            output.write(text)
            counter[text.count(b" ") + 1 if len(text) > 1 else 0] += 1
    return dropped, lengths


def join(
    sources: Paths, targets: Paths, reports: Sequence[Report], outputs: tuple[Path, Path], deduplicate: bool
) -> Report:
    """Write both sides, or neither, and return the report of the whole corpus.

    Raises:
        UserError: a shard does not have the lines that its report gives, or no line is left at all.
    """
    expected = [report["accounts"][0]["lines_out"] for report in reports]
    try:
        report, total = add_up(reports), sum(expected)
    except ValueError as error:
        raise UserError(f"the reports are not of one corpus: {error}; {FIX}") from error
    counts = report["accounts"][0]
    if not total:
        raise UserError(all_dropped(outputs[0], counts))
    with atomic_write(outputs[0], "wb") as source_out, atomic_write(outputs[1], "wb") as target_out:
        if not deduplicate:
            copy(sources, targets, expected, (source_out, target_out))
            return report
        with tempfile.TemporaryDirectory(prefix=".join.", suffix=".tmp", dir=outputs[0].parent) as folder:
            duplicate = repeated(read_pairs(sources, targets, expected), total, Path(folder))
        pairs = read_pairs(sources, targets, expected)
        dropped, lengths = write_distinct(pairs, duplicate, (source_out, target_out))
    report["accounts"].append(
        {
            "step": "join",
            "split": counts["split"],
            "lines_in": total,
            "lines_out": total - dropped,
            "dropped": {"duplicate": dropped},
        }
    )
    languages = list(report["lengths"]["after"])
    report["lengths"]["after"] = dict(zip(languages, map(histogram, lengths), strict=True))
    return report


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description="Join the shards of a corpus in order.")
    parser.add_argument("--source", required=True, nargs="+", type=Path, metavar="FILE", help="one a shard, in order")
    parser.add_argument("--target", required=True, nargs="+", type=Path, metavar="FILE", help="one a shard, in order")
    parser.add_argument("--reports", required=True, nargs="+", type=Path, metavar="JSON", help="one a shard, in order")
    parser.add_argument("--shards", required=True, type=Path, metavar="JSON", help="index of the input of the shards")
    parser.add_argument("--deduplicate", action="store_true", help="keep only the first of equal pairs")
    parser.add_argument("--output-source", required=True, type=Path, metavar="FILE")
    parser.add_argument("--output-target", required=True, type=Path, metavar="FILE")
    parser.add_argument("--report", required=True, type=Path, metavar="JSON")
    parser.add_argument("--output-shards", type=Path, metavar="JSON", help="index of the result, with as many shards")
    args = parser.parse_args()

    if not len(args.source) == len(args.target) == len(args.reports):
        raise UserError("--source, --target and --reports must name as many files each, one a shard")
    reports: list[Report] = [read_json(path, Report, fix=FIX) for path in args.reports]
    check_counts(shards.read_index(args.shards), reports)
    outputs = (args.output_source, args.output_target)
    report = join(args.source, args.target, reports, outputs, args.deduplicate)
    if args.output_shards:
        write_json(args.output_shards, shards.to_index(shards.make_shards(*outputs, len(reports))))
    write_json(args.report, report)


if __name__ == "__main__":
    run(main)
