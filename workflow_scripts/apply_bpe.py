"""Split the words of tokenised text into subwords with learned BPE merges; ``@@`` marks a piece that goes on."""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path

from subword_nmt.apply_bpe import BPE

from cli import UserError, atomic_write, read_lines, run

WORDS_REMEMBERED = 500_000  # a bound on memory; frequent words stay


def load_segmenter(codes_path: str | Path) -> Callable[[str], str]:
    """Return a function from a tokenised line to its subwords, separated by single spaces.

    Raises:
        UserError: the file is not a codes file as learn_bpe.py writes it.
    """
    codes = list(read_lines(codes_path))
    if not codes or codes[0] != "#version: 0.2":
        raise UserError(f"{codes_path}: not a BPE codes file (no '#version: 0.2' first); make one with learn_bpe.py")
    for number, merge in enumerate(codes[1:], start=2):
        if len(merge.split(" ")) != 2:
            raise UserError(f"{codes_path}, line {number}: not a pair of symbols; make the file anew with learn_bpe.py")
    bpe = BPE(io.StringIO("\n".join(codes)), separator="@@")

    @lru_cache(maxsize=WORDS_REMEMBERED)
    def segment_word(word: str) -> str:
        bpe.cache.clear()  # subword-nmt's own cache has no bound, and this one answers before it
        return bpe.segment(word)

    return lambda line: " ".join(segment_word(word) for word in line.split(" ") if word)


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description="Apply BPE merges to tokenised text.")
    parser.add_argument("--codes", required=True, metavar="FILE", help="from learn_bpe.py")
    parser.add_argument("--input", required=True, nargs="+", metavar="FILE")
    parser.add_argument("--output", required=True, nargs="+", metavar="FILE", help="as many as inputs, same order")
    args = parser.parse_args()

    if len(args.input) != len(args.output):
        raise UserError(f"{len(args.input)} files after --input but {len(args.output)} after --output; give as many")
    segment = load_segmenter(args.codes)
    with ExitStack() as stack:  # no output appears unless all succeed
        outputs = [stack.enter_context(atomic_write(path)) for path in args.output]
        for path, output in zip(args.input, outputs, strict=True):
            output.writelines(segment(line) + "\n" for line in read_lines(path))


if __name__ == "__main__":
    run(main)
