"""Report on a corpus from raw text to binarised data: a tidy CSV, a CSV of sentence lengths, and an HTML page.

Every step counts the lines that it read, dropped (and why) and wrote. This command checks that the counts of
successive steps agree with each other, with the lengths, the BPE, the binarised data and the text; if a line is
missing, a step has a bug, and the report stops. SHA-256 and overlaps are computed from
``{data-dir}/{raw,tok,bpe}/{split}.{language}``.

Two sentences are equal if their tokenised texts are; an empty line is no sentence. Only the validation and test sets
are held in memory.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Container, Mapping, Sequence
from itertools import combinations, product, zip_longest
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt

from ekd_nmt.common.command import run
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import atomic_write, read_lines, sha256
from ekd_nmt.common.json_files import read_json
from ekd_nmt.config.types import SPLITS
from ekd_nmt.report.data_report_page import CORPORA, STAGES, Facts, Histograms, Limits, length_facts, render, warnings

REVISION = 1  # of what this command writes: raise it when the same input gives another output

Split = Literal["train", "valid", "test"]
Counts = dict[str, NonNegativeInt]
Lengths = dict[str, dict[NonNegativeInt, NonNegativeInt]]  # language → tokens in a sentence → sentences


Stage = Literal["before", "after"]


class Counted(BaseModel):
    """Base of the models below: strict types; keys that only other readers use are ignored."""

    model_config = ConfigDict(strict=True, frozen=True)


class LineCounts(Counted):
    """The lines of one split in one step; split ``""`` is the whole corpus before it is split."""

    step: str
    split: Split | Literal[""]
    lines_in: PositiveInt
    lines_out: PositiveInt
    dropped: Counts
    texts: Counts = Field({}, alias="parts")  # pairs by parallel text
    expected: NonNegativeInt | None = None  # published number of lines out

    def __str__(self) -> str:
        return f"{self.step} of {self.split or 'the whole corpus'}"


class StepReport(Counted):
    """Line counts in order. With lengths, all are of one split; the lengths are before the first and after the last."""

    line_counts: list[LineCounts] = Field(alias="accounts")
    lengths: dict[Stage, Lengths] = {}


class Segmented(Counted):
    """One split in subword pieces."""

    split: Split
    lines: NonNegativeInt
    words: Counts
    pieces: Counts
    lengths: Lengths


class Side(Counted):
    """One language of a binarised split; ``unknown`` counts the tokens that the dictionary lacks."""

    sentences: NonNegativeInt
    tokens: NonNegativeInt
    unknown: NonNegativeInt


class Binarized(Counted):
    """Symbols in each language's dictionary, whether it is one for both, and split → language → :class:`Side`."""

    dictionaries: Counts
    joined: bool
    splits: dict[Split, dict[str, Side]]


def require(where: str, given: Container[str], names: Sequence[str]) -> None:
    """Raise :class:`UserError` if one of ``names``, splits or languages, is not in ``given``."""
    for name in names:
        if name not in given:
            raise UserError(f"{where}: has no {name}; pass the files of all splits, made with both languages")


def agree(where: str, lines: int, what: str, expected: int) -> None:
    """Raise ``RuntimeError`` if numbers of lines differ: a step has a bug."""
    if lines != expected:
        raise RuntimeError(f"{where}: {lines} lines, but {what} {expected}")


def check_line_counts(line_counts: Sequence[LineCounts]) -> dict[str, int]:
    """Compare the line counts of successive steps; return the lines that each split has in the end.

    Raises:
        UserError: a step and split is given twice, or a split has none.
        RuntimeError: lines appear or disappear within a step, between two, or where the corpus is split.
    """
    last: dict[str, LineCounts] = {}
    seen = set()
    for counts in line_counts:
        if (counts.step, counts.split) in seen:
            raise UserError(f"--line-counts: {counts} is given twice; pass each file once")
        seen.add((counts.step, counts.split))
        kept = counts.lines_in - sum(counts.dropped.values())
        agree(f"{counts}, out", counts.lines_out, f"{counts.lines_in} in minus those dropped are", kept)
        if before := last.get(counts.split):
            agree(f"{counts}, in", counts.lines_in, f"{before} wrote", before.lines_out)
        last[counts.split] = counts
    require("--line-counts", last, SPLITS)
    if whole := last.get(""):
        total = sum(counts.lines_in for counts in line_counts if counts.step == "split" and counts.split)
        agree(f"{whole}, out", whole.lines_out, "split, in, has in all", total)
    return {split: last[split].lines_out for split in SPLITS}


def gather_lengths(
    reports: Sequence[StepReport], segmented: Sequence[Segmented], languages: Sequence[str]
) -> Histograms:
    """The lengths of each split and language: ``before`` of a split's first report, ``after`` of its last, in pieces.

    Raises:
        UserError: a split or a language has none.
        RuntimeError: there are more or fewer lengths than lines.
    """
    found: Histograms = {}
    for report in (report for report in reports if report.line_counts and report.lengths):
        first, last = report.line_counts[0], report.line_counts[-1]
        lines_of: dict[Literal["before", "after"], int] = {"before": first.lines_in, "after": last.lines_out}
        for stage, lines in lines_of.items():
            sides = report.lengths.get(stage, {})
            require(f"{last}, lengths {stage}", sides, languages)
            for language in languages:
                agree(f"{last}, lengths {stage} in {language}", sum(sides[language].values()), "of", lines)
                if stage == "after" or (last.split, language, stage) not in found:
                    found[last.split, language, stage] = sides[language]
    require("--line-counts, lengths", {split for split, _, _ in found}, SPLITS)
    for counts, language in product(segmented, languages):
        found[counts.split, language, "bpe"] = counts.lengths[language]
    return {key: {n: c for n, c in sorted(found[key].items()) if c} for key in product(SPLITS, languages, STAGES)}


def check_subwords(
    segmented: Sequence[Segmented], binarized: Binarized, languages: Sequence[str], kept: Mapping[str, int]
) -> None:
    """Compare the ``kept`` lines of each split with the subwords and the binarised data.

    Raises:
        UserError: a split or a language is missing or given twice.
        RuntimeError: a split has another number of lines there.
    """
    if sorted(counts.split for counts in segmented) != sorted(SPLITS):
        raise UserError(f"--bpe: of {', '.join(counts.split for counts in segmented)}; pass one file each of {SPLITS}")
    require("--binarized, dictionaries", binarized.dictionaries, languages)
    require("--binarized, splits", binarized.splits, SPLITS)
    for counts in segmented:
        split, lines = counts.split, counts.lines
        agree(f"bpe of {split}", lines, "the step before wrote", kept[split])
        sides = binarized.splits[split]
        require(f"--binarized, {split}", sides, languages)
        for by_language in (counts.words, counts.pieces, counts.lengths):
            require(f"--bpe, {split}", by_language, languages)
        for language in languages:
            agree(f"bpe of {split}, lengths in {language}", sum(counts.lengths[language].values()), "of", lines)
            agree(f"binarise of {split} in {language}", sides[language].sentences, "bpe has", lines)


def overlaps(tok: Path, languages: Sequence[str], kept: Mapping[str, int]) -> dict[tuple[str, str], list[int]]:
    """Count overlaps: (first, second) → lines of the first whose source, target, both are in the second.

    Raises:
        UserError: a file cannot be read, is not UTF-8, or the sides of a split differ in length.
        RuntimeError: a split does not have the ``kept`` number of lines.
    """
    shared: dict[tuple[str, str], list[int]] = {pair: [0, 0, 0] for pair in combinations(SPLITS, 2)}
    held: dict[str, list[set]] = {}
    for split in reversed(SPLITS):  # the training set comes last, and is compared as it is read
        own: list[set] = [set(), set(), set()]
        lines = 0
        for pair in zip_longest(*(read_lines(tok / f"{split}.{language}") for language in languages)):
            if None in pair:
                raise UserError(f"{tok}/{split}: one side ends after line {lines}; prepare the corpus again")
            lines += 1
            for place, item in enumerate((*pair, pair)):
                for later, known in held.items():
                    shared[split, later][place] += item in known[place]
                if split != "train":
                    own[place].add(item)
        agree(f"tok of {split}", lines, "the step before wrote", kept[split])
        held[split] = [items - {"", ("", "")} for items in own]
    return shared


def line_facts(line_counts: Sequence[LineCounts]) -> Facts:
    """The lines of each step."""
    facts: Facts = {}
    for counts in line_counts:
        texts = {f"part: {label}": count for label, count in counts.texts.items()}
        dropped = {f"dropped: {reason}": count for reason, count in counts.dropped.items()}
        measures = {"lines_in": counts.lines_in, **texts, **dropped, "lines_out": counts.lines_out}
        measures |= {} if counts.expected is None else {"expected": counts.expected}
        facts |= {(counts.step, counts.split, "", measure): count for measure, count in measures.items()}
    return facts


def subword_facts(segmented: Sequence[Segmented], binarized: Binarized, languages: Sequence[str]) -> Facts:
    """The subword pieces of each split, the dictionaries, and the tokens unknown to them."""
    facts: Facts = {("bpe", counts.split, "", "lines"): counts.lines for counts in segmented}
    for counts, language in product(segmented, languages):
        words, pieces = counts.words[language], counts.pieces[language]
        measures = {"words": words, "pieces": pieces, "pieces per word": pieces / max(words, 1)}
        facts |= {("bpe", counts.split, language, measure): count for measure, count in measures.items()}
    for counts, language in product(segmented, languages):
        side = binarized.splits[counts.split][language]
        measures = {**side.model_dump(), "unknown rate": side.unknown / max(side.tokens, 1)}
        facts |= {("binarise", counts.split, language, measure): count for measure, count in measures.items()}
    facts |= {("binarise", "", language, "dictionary"): binarized.dictionaries[language] for language in languages}
    return facts | {("binarise", "", "", "joined dictionary"): "yes" if binarized.joined else "no"}


def file_facts(data_dir: Path, languages: Sequence[str], kept: Mapping[str, int]) -> Facts:
    """Overlaps and the SHA-256 of every file; raises as :func:`overlaps`, and if a file is missing."""
    files = {key: data_dir / key[2] / f"{key[0]}.{key[1]}" for key in product(SPLITS, languages, CORPORA)}
    for path in files.values():
        if not path.is_file():
            raise UserError(f"{path}: is missing; run the step that writes it, or fix --data-dir")
    facts: Facts = {}
    for (first, second), counts in overlaps(data_dir / "tok", languages, kept).items():
        for language, count in zip((*languages, ""), counts, strict=True):
            facts["overlap", f"{first}-{second}", language, "sentences" if language else "pairs"] = count
    return facts | {("sha256", *key): sha256(path) for key, path in files.items()}


def main() -> None:
    """Command line: see the module's docstring."""
    files: dict[str, Any] = {"type": Path, "nargs": "+", "required": True, "metavar": "JSON"}
    parser = argparse.ArgumentParser(description="Check and report the lines of a corpus.")
    parser.add_argument("--experiment", required=True, metavar="NAME", help="for the page's title")
    parser.add_argument("--source-lang", required=True, metavar="CODE")
    parser.add_argument("--target-lang", required=True, metavar="CODE")
    parser.add_argument("--data-dir", required=True, type=Path, metavar="DIR", help="holds raw, tok and bpe")
    parser.add_argument("--line-counts", **files, help="reports of the steps, in the order of the pipeline")
    parser.add_argument("--bpe", **files, help="counts of the segmented text, one a split")
    parser.add_argument("--binarized", required=True, type=Path, metavar="JSON", help="counts of the binarised data")
    for flag, kind in (("--min-tokens", int), ("--max-tokens", int), ("--max-ratio", float)):
        parser.add_argument(flag, type=kind, metavar="N", help="limit of prepare.py for training, shown on the page")
    parser.add_argument("--csv", required=True, type=Path, metavar="FILE", help="every number, one a row")
    parser.add_argument("--lengths", required=True, type=Path, metavar="FILE", help="sentences by length, CSV")
    parser.add_argument("--page", required=True, type=Path, metavar="FILE", help="HTML")
    args = parser.parse_args()

    languages = (args.source_lang, args.target_lang)
    if languages[0] == languages[1]:
        raise UserError(f"--source-lang and --target-lang are both {languages[0]}; name two languages")
    reports: list[StepReport] = [read_json(path, StepReport) for path in args.line_counts]
    segmented: list[Segmented] = [read_json(path, Segmented) for path in args.bpe]
    binarized: Binarized = read_json(args.binarized, Binarized)
    segmented.sort(key=lambda counts: SPLITS.index(counts.split))
    line_counts = [counts for report in reports for counts in report.line_counts]
    kept = check_line_counts(line_counts)
    check_subwords(segmented, binarized, languages, kept)
    histograms = gather_lengths(reports, segmented, languages)
    facts = line_facts(line_counts) | length_facts(histograms) | subword_facts(segmented, binarized, languages)
    facts |= file_facts(args.data_dir, languages, kept)

    rows = [(*key, f"{value:.6f}" if isinstance(value, float) else str(value)) for key, value in facts.items()]
    lengths = [(*key, length, count) for key, counts in histograms.items() for length, count in counts.items()]
    limits = Limits(args.min_tokens, args.max_tokens, args.max_ratio)
    page = render(args.experiment, languages, facts, histograms, limits)
    with atomic_write(args.csv) as csv, atomic_write(args.lengths) as bins, atomic_write(args.page) as html:
        pd.DataFrame(rows, columns=["step", "split", "language", "measure", "value"]).to_csv(csv, index=False)
        pd.DataFrame(lengths, columns=["split", "language", "stage", "length", "count"]).to_csv(bins, index=False)
        html.write(page)
    for line in warnings(facts):
        print(f"warning: {line}", file=sys.stderr)


if __name__ == "__main__":
    run(main)
