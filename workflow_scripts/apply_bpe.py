"""Split words of tokenised text into subwords with learned BPE merges; ``@@`` marks every piece but the last of a word.

Both sides of a split are segmented. ``--shards`` and ``--shard`` restrict the work to one shard, so that several jobs
share it.
"""

from __future__ import annotations

import argparse
import io
from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from subword_nmt.apply_bpe import BPE

from ekd_nmt.common.command import run
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import atomic_write, read_lines, write_json
from ekd_nmt.corpus import shards
from ekd_nmt.corpus.line_counts import LineCounts, histogram

REVISION = 1  # of what this command writes: raise it when the same input gives another output

WORDS_REMEMBERED = 1 << 16  # takes about 20 MB; frequent words stay
Segment = Callable[[str], str]


def load_segmenter(codes_path: str | Path) -> Segment:
    """Return a function from a tokenised line to its subwords, separated by single spaces.

    Raises:
        UserError: the file is not a codes file as learn_bpe.py writes it.
    """
    codes = list(read_lines(codes_path))
    if not codes or codes[0] != "#version: 0.2":
        raise UserError(f"{codes_path}: not a BPE codes file (no '#version: 0.2' first); make one with learn_bpe.py")
    for number, merge in enumerate(codes[1:], start=2):
        if len(merge.split(" ")) != 2:
            raise UserError(f"{codes_path}, line {number}: not a pair of symbols; write it again with learn_bpe.py")
    bpe = BPE(io.StringIO("\n".join(codes)), separator="@@")

    @lru_cache(maxsize=WORDS_REMEMBERED)
    def segment_word(word: str) -> str:
        bpe.cache.clear()  # subword-nmt's own cache has no bound, and this one answers before it
        return bpe.segment(word)

    return lambda line: " ".join([segment_word(word) for word in line.split(" ") if word])


def segment_lines(lines: Iterable[str], segment: Segment, output: IO[str]) -> tuple[int, Counter[int]]:
    """Write the segmented lines; return how many words they have, and the number of lines by length in pieces."""
    words, lengths = 0, Counter[int]()
    for line in lines:
        pieces = segment(line)
        output.write(pieces + "\n")
        words += len(line.split())
        lengths[pieces.count(" ") + 1 if pieces else 0] += 1
    return words, lengths


def report(split: str, words: dict[str, int], lengths: dict[str, Counter[int]]) -> dict[str, Any]:
    """The counts of :func:`segment_lines` by language, in JSON's types.

    Raises:
        UserError: the sides differ in length.
    """
    lines = [counter.total() for counter in lengths.values()]
    if len(set(lines)) > 1:
        raise UserError(f"{split}: the sides have {lines} lines; segment both sides of the same corpus")
    counts = LineCounts(step="bpe", split=split, lines_in=lines[0], lines_out=lines[0], dropped={})
    return {
        "accounts": [counts],
        "split": split,
        "lines": lines[0],
        "words": words,
        "pieces": {code: sum(length * n for length, n in counter.items()) for code, counter in lengths.items()},
        "lengths": {code: histogram(counter) for code, counter in lengths.items()},
    }


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description="Apply BPE merges to tokenised text.")
    parser.add_argument("--codes", required=True, metavar="FILE", help="from learn_bpe.py")
    parser.add_argument("--source", required=True, type=Path, metavar="FILE")
    parser.add_argument("--target", required=True, type=Path, metavar="FILE")
    parser.add_argument("--source-lang", required=True, metavar="CODE", help="for the report, as the next two")
    parser.add_argument("--target-lang", required=True, metavar="CODE")
    parser.add_argument("--split", default="", metavar="NAME")
    shards.add_shard_options(parser)
    parser.add_argument("--output-source", required=True, type=Path, metavar="FILE")
    parser.add_argument("--output-target", required=True, type=Path, metavar="FILE")
    parser.add_argument("--report", required=True, type=Path, metavar="JSON", help="words, pieces and lengths")
    args = parser.parse_args()

    shard = shards.selected_shard(args)
    segment = load_segmenter(args.codes)
    inputs = shards.read_sides(shard, args.source, args.target)
    # both outputs appear, or neither
    with atomic_write(args.output_source) as source, atomic_write(args.output_target) as target:
        words, lengths = {}, {}
        for code, lines, output in zip((args.source_lang, args.target_lang), inputs, (source, target), strict=True):
            words[code], lengths[code] = segment_lines(lines, segment, output)
        counts = report(args.split, words, lengths)
    write_json(args.report, counts)


if __name__ == "__main__":
    run(main)
