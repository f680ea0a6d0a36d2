"""Learn joint byte-pair-encoding merges (Sennrich et al. 2016) from all input files together, with subword-nmt."""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path

from subword_nmt.learn_bpe import learn_bpe

from ekd_nmt.common.command import run
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import read_lines, write_lines
from ekd_nmt.corpus.shards import count_lines, line_offsets

REVISION = 1  # of what this command writes: raise it when the same input gives another output


def count_words(paths: Sequence[str | Path], sample: int | None = None, workers: int = 1) -> Counter[str]:
    """Count the space-separated words of tokenised text; the result is the same for any number of workers.

    Args:
        paths: the files; their counts are added up.
        sample: about how many lines of each file to count, evenly spread; ``None`` counts all.
        workers: number of processes.

    Raises:
        UserError: a file cannot be read or is not UTF-8.
    """
    tasks: list[tuple[str | Path, int, int, int, int]] = []
    for path in paths:
        lines = count_lines(path)
        step = 1 if sample is None else max(1, -(-lines // sample))
        bounds = [lines * number // workers for number in range(workers + 1)]
        ends = line_offsets(path, bounds)
        tasks += [(path, ends[n], ends[n + 1], bounds[n], step) for n in range(workers) if bounds[n] < bounds[n + 1]]
    counts: Counter[str] = Counter()
    with ProcessPoolExecutor(workers) if workers > 1 else contextlib.nullcontext() as pool:
        for counted in (pool.map if pool else map)(_count_range, tasks):
            counts.update(counted)
    del counts[""]  # from repeated spaces and empty lines
    return counts


def _count_range(task: tuple[str | Path, int, int, int, int]) -> Counter[str]:
    """Count the words of every ``step``-th line of a file, within a range of bytes."""
    path, start, end, before, step = task
    counts: Counter[str] = Counter()
    for line in islice(read_lines(path, start, end, before + 1), -before % step, None, step):
        counts.update(line.split(" "))
    return counts


def learn(counts: Counter[str], merges: int) -> list[str]:
    """Return the lines of a subword-nmt codes file: the version, then at most ``merges`` merges, best first.

    There are fewer merges when no pair of symbols is left that occurs twice.

    Raises:
        UserError: ``merges`` is not positive, or there is nothing to merge.
    """
    if merges < 1:
        raise UserError(f"--merges {merges}: must be at least 1")
    # subword-nmt fails if all words are one character long
    if not any(len(word) > 1 for word in counts):
        raise UserError("the input holds no word of two or more characters; BPE needs tokenised text")
    codes = io.StringIO()
    # its progress bar and its warning that it stopped early do not belong in a log
    with contextlib.redirect_stderr(io.StringIO()):
        learn_bpe((f"{word} {count}" for word, count in counts.items()), codes, merges, is_dict=True)
    return codes.getvalue().removesuffix("\n").split("\n")


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description="Learn joint BPE merges from tokenised text.")
    parser.add_argument("--input", required=True, nargs="+", metavar="FILE", help="tokenised training text, all sides")
    parser.add_argument("--merges", required=True, type=int, metavar="N")
    parser.add_argument("--output", required=True, metavar="FILE", help="codes file in subword-nmt's format")
    parser.add_argument("--sample", type=int, metavar="N", help="learn from about N lines of each file")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes that count words (default: 1)")
    args = parser.parse_args()
    for name in ("sample", "workers"):
        if (value := getattr(args, name)) is not None and value < 1:
            raise UserError(f"--{name} {value}: must be at least 1")

    codes = learn(count_words(args.input, args.sample, args.workers), args.merges)
    write_lines(args.output, codes)
    learned = len(codes) - 1
    if learned < args.merges:
        print(
            f"{args.output}: {learned} of {args.merges} merges learned; no other pair of symbols occurs twice",
            file=sys.stderr,
        )


if __name__ == "__main__":
    run(main)
