r"""Tokenise a parallel corpus as Moses does, lowercase it on request, and drop pairs of unsuitable length.

Tokenisation is sacremoses' port of Moses' ``tokenizer.perl`` at its defaults: hyphens stay inside words and the
characters ``& | < > ' " [ ]`` are escaped as entities. The length rule is that of Moses' ``clean-corpus-n.perl``, as
fairseq's IWSLT'14 recipe uses it. Without a filter option every pair is kept, even an empty one, so a test set stays
aligned with its untokenised text.

One thing sacremoses does differently from today's ``tokenizer.perl``: a period at the end of the line stays on an
abbreviation or a number (``usw.``, ``u.s.``, German ``75.``), where the Perl script splits it from any last word.
``--split-final-period`` does as the script does.

Output tokens are separated by single spaces and hold no white space of any kind (no ``\r``, form feed or U+2028), so no
later reader can split a line where this one did not.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from sacremoses import MosesTokenizer

from cli import UserError, atomic_write, read_lines, run, write_json

DROP_REASONS = ("empty", "too_short", "too_long", "ratio")
Tokenize = Callable[[str], list[str]]  # from a sentence to its tokens


@dataclass(frozen=True)
class LengthFilter:
    """The rule of ``clean-corpus-n.perl``; a limit of ``None`` is not applied.

    Lengths are in tokens. ``max_ratio`` bounds the longer side divided by the shorter one.
    """

    min_tokens: int | None = None
    max_tokens: int | None = None
    max_ratio: float | None = None

    def __post_init__(self) -> None:
        """Refuse limits that no pair could meet."""
        if self.min_tokens is not None and self.min_tokens < 1:
            raise UserError(f"--min-tokens {self.min_tokens}: must be at least 1")
        if self.max_tokens is not None and self.max_tokens < (self.min_tokens or 1):
            raise UserError(f"--max-tokens {self.max_tokens}: must be at least {self.min_tokens or 1}")
        if self.max_ratio is not None and self.max_ratio < 1:
            raise UserError(f"--max-ratio {self.max_ratio}: the longer side over the shorter one is at least 1")

    @property
    def active(self) -> bool:
        """Whether any limit is set."""
        return any(limit is not None for limit in (self.min_tokens, self.max_tokens, self.max_ratio))

    def reason_to_drop(self, source_tokens: int, target_tokens: int) -> str | None:
        """Name the first of :data:`DROP_REASONS` that applies to a pair of these lengths, or ``None`` to keep it."""
        if not self.active:
            return None
        shorter, longer = sorted((source_tokens, target_tokens))
        if shorter == 0:
            return "empty"
        if self.min_tokens is not None and shorter < self.min_tokens:
            return "too_short"
        if self.max_tokens is not None and longer > self.max_tokens:
            return "too_long"
        if self.max_ratio is not None and longer / shorter > self.max_ratio:
            return "ratio"
        return None


def make_tokenizer(language: str, lowercase: bool = False, split_final_period: bool = False) -> Tokenize:
    """Return a function from a sentence to its tokens.

    A language without a list of abbreviations in Moses is tokenised with the English list, as Moses does.
    """
    tokenizer = MosesTokenizer(lang=language)

    def tokenize(sentence: str) -> list[str]:
        tokens = tokenizer.tokenize(sentence, aggressive_dash_splits=False, escape=True)
        if split_final_period:
            tokens = part_final_period(tokens)
        return [token.lower() for token in tokens] if lowercase else tokens

    return tokenize


def part_final_period(tokens: list[str]) -> list[str]:
    """Make a period that ends the last token a token of its own; dots alone (``...``) stay together."""
    if not tokens or not tokens[-1].endswith(".") or set(tokens[-1]) == {"."}:
        return tokens
    return [*tokens[:-1], tokens[-1][:-1], "."]


@dataclass(frozen=True)
class Side:
    """One side of the corpus: where it is read, where it is written, how it is tokenised."""

    path: Path
    output: Path
    tokenize: Tokenize


def prepare(source: Side, target: Side, length_filter: LengthFilter) -> dict[str, object]:
    """Tokenise and filter line by line, in constant memory; write both sides or neither.

    Returns:
        ``{"lines_in": int, "lines_out": int, "dropped": {reason: int}}``; the dropped add up to the difference.

    Raises:
        UserError: a side is unreadable or not UTF-8, the sides differ in length, or no pair is left.
    """
    dropped = dict.fromkeys(DROP_REASONS, 0)
    lines_in = lines_out = 0
    with atomic_write(source.output) as source_out, atomic_write(target.output) as target_out:
        for source_line, target_line in zip_longest(read_lines(source.path), read_lines(target.path)):
            if source_line is None or target_line is None:
                raise UserError(
                    f"{source.path} and {target.path} differ in length: one ends after line {lines_in}; "
                    "check them with pair.py"
                )
            lines_in += 1
            source_tokens, target_tokens = source.tokenize(source_line), target.tokenize(target_line)
            reason = length_filter.reason_to_drop(len(source_tokens), len(target_tokens))
            if reason is not None:
                dropped[reason] += 1
                continue
            lines_out += 1
            source_out.write(" ".join(source_tokens) + "\n")
            target_out.write(" ".join(target_tokens) + "\n")
        if lines_in == 0:
            raise UserError(f"{source.path} and {target.path} are empty; there is nothing to prepare")
        if lines_out == 0:
            counts = ", ".join(f"{reason} {count}" for reason, count in dropped.items())
            raise UserError(f"{source.path}: all {lines_in} pairs were filtered out ({counts}); loosen the filter")
    return {"lines_in": lines_in, "lines_out": lines_out, "dropped": dropped}


def add_token_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that decide how many tokens a sentence has, and which pairs are kept for it."""
    parser.add_argument("--source-lang", required=True, metavar="CODE", help="such as de")
    parser.add_argument("--target-lang", required=True, metavar="CODE", help="such as en")
    parser.add_argument(
        "--split-final-period", action="store_true", help="off an abbreviation too, as tokenizer.perl does"
    )
    parser.add_argument("--min-tokens", type=int, metavar="N", help="drop pairs with a side shorter than this")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="drop pairs with a side longer than this")
    parser.add_argument("--max-ratio", type=float, metavar="X", help="drop pairs whose lengths differ by more")


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description="Tokenise and filter a parallel corpus.")
    parser.add_argument("--source", required=True, type=Path, metavar="FILE")
    parser.add_argument("--target", required=True, type=Path, metavar="FILE")
    add_token_options(parser)
    parser.add_argument("--lowercase", action="store_true")
    parser.add_argument("--output-source", required=True, type=Path, metavar="FILE")
    parser.add_argument("--output-target", required=True, type=Path, metavar="FILE")
    parser.add_argument("--report", required=True, type=Path, metavar="JSON", help="lines in, out, dropped and why")
    args = parser.parse_args()

    length_filter = LengthFilter(args.min_tokens, args.max_tokens, args.max_ratio)
    options = {"lowercase": args.lowercase, "split_final_period": args.split_final_period}
    source = Side(args.source, args.output_source, make_tokenizer(args.source_lang, **options))
    target = Side(args.target, args.output_target, make_tokenizer(args.target_lang, **options))
    write_json(args.report, prepare(source, target, length_filter))


if __name__ == "__main__":
    run(main)
