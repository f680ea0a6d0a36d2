"""Join the parts of a corpus that parallel jobs have made: in order, every line counted, duplicates dropped on request.

Each part comes as two aligned files and a report. The lines of a part must be as many as its report says, and as its
share in the index of the cut (``--parts``) once its drops are counted, so that no job can lose or repeat a line unseen.
The numbers of all reports are added up to one.

``--deduplicate`` keeps the first of equal pairs. Up to 134 million pairs memory does not grow with the corpus but for
one bit a line: digests of the pairs are spread over files by their first bytes, so that equal pairs meet in the same
one, and each file is sorted by itself.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy

from ekd_nmt.common.command import run
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import atomic_write, write_json
from ekd_nmt.corpus import shards
from ekd_nmt.corpus.line_counts import all_dropped, histogram

REVISION = 1  # of what this command writes: raise it when the same input gives another output

BUCKETED = 1 << 18  # pairs a bucket, about; each takes 24 bytes and as much again for sorting
MOST_BUCKETS = 512  # so many files are open at a time
BUFFER = 1 << 12  # records held back a bucket; few, because there are many buckets
RECORD = numpy.dtype([("high", ">u8"), ("low", ">u8"), ("line", "<u8")])

Paths = Sequence[Path]
Pair = tuple[bytes, bytes]  # source and target line, each with its line end


def add_up(values: Sequence[Any]) -> Any:
    """Add up reports of the same shape, number by number.

    Dictionaries are united, lists are added place by place, and text must be equal.

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
        raise ValueError(f"{sorted({str(value) for value in values})} differ between parts")
    return first


def read_reports(paths: Paths) -> list[dict[str, Any]]:
    """The parts' reports.

    Raises:
        UserError: a file cannot be read, or is no report.
    """
    reports = []
    for path in paths:
        try:
            reports.append(json.loads(path.read_text(encoding="utf-8")))
            reports[-1]["accounts"][0]["lines_out"]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise UserError(f"{path}: is no report of a part ({error}); make the part anew") from error
    return reports


def check_counts(cut: Sequence[shards.Part], reports: Sequence[dict[str, Any]]) -> None:
    """Every part has been read whole, and what it lost is accounted for.

    Raises:
        UserError: the number of parts or the lines of one differ from the cut.
    """
    if len(cut) != len(reports):
        raise UserError(f"the corpus was cut into {len(cut)} parts but {len(reports)} are given; make them anew")
    for number, (part, report) in enumerate(zip(cut, reports, strict=True)):
        account = report["accounts"][0]
        if account["lines_in"] != part.lines or account["lines_out"] + sum(account["dropped"].values()) != part.lines:
            raise UserError(f"part {number} has {part.lines} lines but its report says {account}; make the part anew")


def read_pairs(sources: Paths, targets: Paths, expected: Sequence[int]) -> Iterator[Pair]:
    """Yield the pairs of all parts in order, as bytes with their line ends.

    Raises:
        UserError: a part has another number of lines than expected on either side, or cannot be read.
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
            raise UserError(f"{error.filename}: cannot be read ({error.strerror}); make the part anew") from error
        if count != lines:
            raise UserError(f"{source} and {target} should both have {lines} lines, and do not; make the part anew")


def copy(sources: Paths, targets: Paths, expected: Sequence[int], outputs: tuple[IO[bytes], IO[bytes]]) -> None:
    """Write the parts one after the other; raises as :func:`read_pairs` does."""
    for source, target, lines in zip(sources, targets, expected, strict=True):
        for path, output in zip((source, target), outputs, strict=True):
            count = 0
            for block in shards.blocks(path):
                count += block.count(b"\n")
                output.write(block)
            if count != lines:
                raise UserError(f"{path} should have {lines} lines and has {count}; make the part anew")


def repeated(pairs: Iterator[Pair], total: int, folder: Path) -> numpy.ndarray:
    """One bit a pair, packed: set where an equal pair came before.

    Args:
        pairs: ``total`` of them.
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
    """Yield the records of each bucket. Equal pairs have equal digests of 128 bits and so the same bucket."""
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
    pairs: Iterator[Pair], again: numpy.ndarray, outputs: tuple[IO[bytes], IO[bytes]]
) -> tuple[int, tuple[Counter[int], Counter[int]]]:
    """Write the pairs whose bit is not set; return how many were left out, and the lengths of both sides in tokens."""
    left_out = 0
    lengths: tuple[Counter[int], Counter[int]] = (Counter(), Counter())
    for line, pair in enumerate(pairs):
        if again[line >> 3] >> (line & 7) & 1:
            left_out += 1
            continue
        for output, counter, text in zip(outputs, lengths, pair, strict=True):
            output.write(text)
            counter[text.count(b" ") + 1 if len(text) > 1 else 0] += 1
    return left_out, lengths


def join(
    sources: Paths, targets: Paths, reports: Sequence[dict[str, Any]], outputs: tuple[Path, Path], deduplicate: bool
) -> dict[str, Any]:
    """Write both sides, or neither, and return the report of the whole.

    Raises:
        UserError: a part does not hold the lines that its report gives, or no line is left at all.
    """
    expected = [report["accounts"][0]["lines_out"] for report in reports]
    try:
        report, total = add_up(reports), sum(expected)
    except ValueError as error:
        raise UserError(f"the reports are not of parts of one corpus: {error}; make the parts anew") from error
    account = report["accounts"][0]
    if not total:
        raise UserError(all_dropped(outputs[0], account["lines_in"], account["dropped"]))
    with atomic_write(outputs[0], "wb") as source_out, atomic_write(outputs[1], "wb") as target_out:
        if not deduplicate:
            copy(sources, targets, expected, (source_out, target_out))
            return report
        with tempfile.TemporaryDirectory(prefix=".join.", suffix=".tmp", dir=outputs[0].parent) as folder:
            again = repeated(read_pairs(sources, targets, expected), total, Path(folder))
        left_out, lengths = write_distinct(read_pairs(sources, targets, expected), again, (source_out, target_out))
    report["accounts"].append(
        {
            "step": "join",
            "split": account["split"],
            "lines_in": total,
            "lines_out": total - left_out,
            "dropped": {"duplicate": left_out},
        }
    )
    languages = list(report["lengths"]["after"])
    report["lengths"]["after"] = dict(zip(languages, map(histogram, lengths), strict=True))
    return report


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description="Join the parts of a corpus in order.")
    parser.add_argument("--source", required=True, nargs="+", type=Path, metavar="FILE", help="of the parts, in order")
    parser.add_argument("--target", required=True, nargs="+", type=Path, metavar="FILE", help="of the parts, in order")
    parser.add_argument("--reports", required=True, nargs="+", type=Path, metavar="JSON", help="of the parts, in order")
    parser.add_argument("--parts", required=True, type=Path, metavar="JSON", help="the cut that the parts came from")
    parser.add_argument("--deduplicate", action="store_true", help="keep only the first of equal pairs")
    parser.add_argument("--output-source", required=True, type=Path, metavar="FILE")
    parser.add_argument("--output-target", required=True, type=Path, metavar="FILE")
    parser.add_argument("--report", required=True, type=Path, metavar="JSON")
    parser.add_argument("--output-parts", type=Path, metavar="JSON", help="cut the result again, into as many parts")
    args = parser.parse_args()

    if not len(args.source) == len(args.target) == len(args.reports):
        raise UserError("--source, --target and --reports must name as many files each, one a part")
    reports = read_reports(args.reports)
    check_counts(shards.load(args.parts), reports)
    outputs = (args.output_source, args.output_target)
    report = join(args.source, args.target, reports, outputs, args.deduplicate)
    if args.output_parts:
        write_json(args.output_parts, shards.index(shards.cut(*outputs, len(reports))))
    write_json(args.report, report)


if __name__ == "__main__":
    run(main)
