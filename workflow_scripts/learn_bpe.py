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
from ekd_nmt.corpus.shards import count_lines, offsets_behind

REVISION = 1  # of what this command writes: raise it when the same input gives another output


def count_words(paths: Sequence[str | Path], sample: int | None = None, workers: int = 1) -> Counter[str]:
    """Count the space-separated words of tokenised text; the result does not depend on the number of workers.

    Args:
        paths: the files, all of them together.
        sample: about how many lines of each file to count, evenly spread; ``None`` counts all.
        workers: processes.

    Raises:
        UserError: a file cannot be read or is not UTF-8.
    """
    tasks: list[tuple[str | Path, int, int, int, int]] = []
    for path in paths:
        lines = count_lines(path)
        step = 1 if sample is None else max(1, -(-lines // sample))
        bounds = [lines * number // workers for number in range(workers + 1)]
        ends = offsets_behind(path, bounds)
        tasks += [(path, ends[n], ends[n + 1], bounds[n], step) for n in range(workers) if bounds[n] < bounds[n + 1]]
    counts: Counter[str] = Counter()
    if workers == 1:
        found = map(_count_part, tasks)
    else:
        with ProcessPoolExecutor(workers) as pool:
            found = list(pool.map(_count_part, tasks))
    for part in found:
        counts.update(part)
    del counts[""]  # from repeated spaces and empty lines
    return counts


def _count_part(task: tuple[str | Path, int, int, int, int]) -> Counter[str]:
    """Count the words of every ``step``-th line of the file among those between two bytes."""
    path, start, end, before, step = task
    counts: Counter[str] = Counter()
    for line in islice(read_lines(path, start, end, before + 1), -before % step, None, step):
        counts.update(line.split(" "))
    return counts


def learn(counts: Counter[str], merges: int) -> list[str]:
    """Return the lines of a subword-nmt codes file: the version, then at most ``merges`` merges, best first.

    Fewer merges come out when no pair of symbols is left that occurs twice.

    Raises:
        UserError: ``merges`` is not positive, or there is nothing to merge.
    """
    if merges < 1:
        raise UserError(f"--merges {merges}: must be at least 1")
    # Where all words are one character long subword-nmt has no pair to start from.
    if not any(len(word) > 1 for word in counts):
        raise UserError("the input holds no word of two or more characters; BPE needs tokenised text")
    codes = io.StringIO()
    # Its progress bar and its remark that it stopped early do not belong in a log: redirected and discarded.
    with contextlib.redirect_stderr(io.StringIO()):
        learn_bpe((f"{word} {count}" for word, count in counts.items()), codes, merges, is_dict=True)
    return codes.getvalue().removesuffix("\n").split("\n")


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description="Learn joint BPE merges from tokenised text.")
    parser.add_argument("--input", required=True, nargs="+", metavar="FILE", help="tokenised training text, all sides")
    parser.add_argument("--merges", required=True, type=int, metavar="N")
    parser.add_argument("--output", required=True, metavar="FILE", help="codes file in subword-nmt's format")
    parser.add_argument("--sample", type=int, metavar="N", help="learn from about so many lines of each file")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes that count (default: 1)")
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
