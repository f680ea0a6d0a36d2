r"""Normalise, tokenise and lowercase a parallel corpus as Moses does, and drop pairs that are unfit for training.

Tokenisation is that of Moses' ``tokenizer.perl`` at its defaults: hyphens stay inside words and the characters
``& | < > ' " [ ]`` are escaped as entities; see :mod:`ekd_nmt.corpus.moses`. The length rule is that of
``clean-corpus-n.perl``, as fairseq's IWSLT'14 recipe uses it; see :mod:`ekd_nmt.corpus.filters`. Without a filter
option every pair is kept, even an empty one, so a test set stays aligned with its untokenised text.

``--held-out`` names the prepared validation or test set: a training pair is dropped if its source or its target is a
sentence of that set. They are compared as the model will see them, after all of the above.

``--shards`` and ``--shard`` restrict the work to one shard of the corpus, so that several jobs share it. Every step is
line by line and needs the same memory for any corpus. Output tokens are separated by single spaces and contain no white
space of any kind (no ``\r``, form feed or U+2028), so no later reader can split a line where this command did not.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ekd_nmt.common.command import run
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import atomic_write, read_lines, write_json
from ekd_nmt.corpus import shards
from ekd_nmt.corpus.filters import LENGTH_REASONS, LanguageFilter, LengthFilter, ScriptFilter
from ekd_nmt.corpus.line_counts import HELD_OUT, LineCounts, all_dropped, histogram
from ekd_nmt.corpus.moses import Tokenize, make_normalizer, make_tokenizer
from ekd_nmt.corpus.token_options import add_token_options

REVISION = 1  # of what this command writes: raise it when the same input gives another output

DROP_REASONS = (*LENGTH_REASONS, "script", "language", HELD_OUT)

Sides = tuple[str, str]  # source and target


@dataclass(frozen=True)
class Side:
    """One side of the corpus: the file that is read, the file that is written, and what is done to each sentence."""

    language: str
    path: Path
    output: Path
    tokenize: Tokenize
    normalize: Callable[[str], str] = str


@dataclass(frozen=True)
class Screen:
    """Which pairs stay.

    Attributes:
        lengths: filter by lengths in tokens.
        text: filters by the text before tokenisation; each returns a reason to drop the pair, or ``None``.
        held_out: tokenised sentences, source and target, that training must not see.
    """

    lengths: LengthFilter = field(default_factory=LengthFilter)
    text: Sequence[Callable[[str, str], str | None]] = ()
    held_out: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())

    def reason_to_drop(self, text: Sides, tokens: tuple[list[str], list[str]], joined: Sides) -> str | None:
        """The first of :data:`DROP_REASONS` that applies, quick checks first; ``None`` keeps the pair."""
        if (reason := self.lengths.reason_to_drop(len(tokens[0]), len(tokens[1]))) is not None:
            return reason
        for reason_to_drop in self.text:
            if (reason := reason_to_drop(*text)) is not None:
                return reason
        return HELD_OUT if joined[0] in self.held_out[0] or joined[1] in self.held_out[1] else None


def held_out_sentences(files: Iterable[tuple[Path, Path]]) -> tuple[frozenset[str], frozenset[str]]:
    """The distinct non-empty sentences of pairs of prepared files (source, target); they must fit in memory.

    Raises:
        UserError: a file cannot be read or is not UTF-8.
    """
    sides: tuple[set[str], set[str]] = (set(), set())
    for paths in files:
        for sentences, path in zip(sides, paths, strict=True):
            sentences.update(read_lines(path))
            sentences.discard("")
    return frozenset(sides[0]), frozenset(sides[1])


def prepare(
    source: Side, target: Side, screen: Screen, split: str = "", shard: shards.Shard | None = None
) -> dict[str, Any]:
    """Prepare line by line, in constant memory; write both sides or neither.

    Args:
        source: source side.
        target: target side.
        screen: which pairs stay.
        split: name of the split, for the report.
        shard: of the files; ``None`` for the whole files.

    Returns:
        Line counts, and the numbers of sentences by length in tokens, before and after.

    Raises:
        UserError: a side is unreadable or not UTF-8, the sides differ in length, or no pair of a whole corpus is left.
    """
    dropped = dict.fromkeys(DROP_REASONS, 0)
    lengths: dict[str, dict[str, Counter[int]]] = {
        stage: {side.language: Counter() for side in (source, target)} for stage in ("before", "after")
    }
    lines_in = lines_out = 0
    read = shards.read_sides(shard, source.path, target.path)
    with atomic_write(source.output) as source_out, atomic_write(target.output) as target_out:
        for source_line, target_line in zip_longest(*read):
            if source_line is None or target_line is None:
                raise UserError(
                    f"{source.path} and {target.path} differ in length: one ends after line {lines_in}; "
                    "check them with collect.py"
                )
            lines_in += 1
            text = source.normalize(source_line), target.normalize(target_line)
            tokens = source.tokenize(text[0]), target.tokenize(text[1])
            joined = " ".join(tokens[0]), " ".join(tokens[1])
            _count(lengths["before"], tokens)
            if (reason := screen.reason_to_drop(text, tokens, joined)) is not None:
                dropped[reason] += 1
                continue
            lines_out += 1
            _count(lengths["after"], tokens)
            source_out.write(joined[0] + "\n")
            target_out.write(joined[1] + "\n")
        counts = LineCounts(step="prepare", split=split, lines_in=lines_in, lines_out=lines_out, dropped=dropped)
        if shard is None and not lines_in:
            raise UserError(f"{source.path} and {target.path} are empty; check the step that writes them")
        if shard is None and not lines_out:
            raise UserError(all_dropped(source.path, counts))
    histograms = {
        stage: {language: histogram(counter) for language, counter in sides.items()} for stage, sides in lengths.items()
    }
    return {"accounts": [counts], "lengths": histograms}


def _count(lengths: dict[str, Counter[int]], tokens: tuple[list[str], list[str]]) -> None:
    for counter, side in zip(lengths.values(), tokens, strict=True):
        counter[len(side)] += 1


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Tokenise and filter a parallel corpus.")
    parser.add_argument("--source", required=True, type=Path, metavar="FILE")
    parser.add_argument("--target", required=True, type=Path, metavar="FILE")
    parser.add_argument("--split", default="", metavar="NAME", help="for the report")
    shards.add_shard_options(parser)
    add_token_options(parser)
    parser.add_argument("--normalize", action="store_true", help="punctuation, as normalize-punctuation.perl does")
    parser.add_argument("--lowercase", action="store_true")
    parser.add_argument(
        "--min-script", type=float, metavar="X", help="drop pairs with a smaller share of letters of the language"
    )
    parser.add_argument(
        "--other-language", type=float, metavar="P", help="drop pairs that are in another language at least so probably"
    )
    parser.add_argument(
        "--held-out",
        nargs=2,
        type=Path,
        action="append",
        default=[],
        metavar=("SOURCE", "TARGET"),
        help="prepared text whose sentences are dropped; may be repeated",
    )
    parser.add_argument("--output-source", required=True, type=Path, metavar="FILE")
    parser.add_argument("--output-target", required=True, type=Path, metavar="FILE")
    parser.add_argument("--report", required=True, type=Path, metavar="JSON", help="lines in, out, dropped; lengths")
    return parser.parse_args()


def main() -> None:
    """Command line: see the module's docstring."""
    args = parse_arguments()
    languages = (args.source_lang, args.target_lang)
    text = []
    if args.min_script is not None:
        text.append(ScriptFilter(languages, args.min_script).reason_to_drop)
    if args.other_language is not None:
        text.append(LanguageFilter(languages, args.other_language).reason_to_drop)
    lengths = LengthFilter(args.min_tokens, args.max_tokens, args.max_ratio)
    screen = Screen(lengths, text, held_out_sentences(args.held_out))
    shard = shards.selected_shard(args)

    def side(language: str, path: Path, output: Path) -> Side:
        tokenize = make_tokenizer(language, args.lowercase, args.split_final_period)
        return Side(language, path, output, tokenize, make_normalizer(language) if args.normalize else str)

    source = side(languages[0], args.source, args.output_source)
    target = side(languages[1], args.target, args.output_target)
    write_json(args.report, prepare(source, target, screen, args.split, shard))


if __name__ == "__main__":
    run(main)
