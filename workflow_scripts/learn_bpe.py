"""Learn joint byte-pair-encoding merges (Sennrich et al. 2016) from all input files together, with subword-nmt."""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from subword_nmt.learn_bpe import learn_bpe

from cli import UserError, read_lines, run, write_lines


def count_words(paths: Iterable[str | Path]) -> Counter[str]:
    """Count the space-separated words of tokenised text.

    Raises:
        UserError: a file cannot be read or is not UTF-8.
    """
    counts: Counter[str] = Counter()
    for path in paths:
        for line in read_lines(path):
            counts.update(line.split(" "))
    del counts[""]  # from repeated spaces and empty lines
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
    args = parser.parse_args()

    codes = learn(count_words(args.input), args.merges)
    write_lines(args.output, codes)
    learned = len(codes) - 1
    if learned < args.merges:
        print(
            f"{args.output}: {learned} of {args.merges} merges learned; no other pair of symbols occurs twice",
            file=sys.stderr,
        )


if __name__ == "__main__":
    run(main)
