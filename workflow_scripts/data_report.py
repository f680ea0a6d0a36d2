"""Account for every line of a corpus, from raw text to binarised data: a tidy CSV, one of lengths, and a page to read.

Every step counts the lines it read, dropped (and why) and wrote. Here the counts are put end to end and compared with
the lengths, the BPE, the binarised data and the text; a line that no step accounts for is a bug and stops the report.
What only the files can tell is read from ``{data-dir}/{raw,tok,bpe}/{split}.{language}``: SHA-256, and the overlap.

Two sentences are the same when their tokenised text is, character by character; an empty line is no sentence. Only the
validation and test sets are held in memory.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Container, Mapping, Sequence
from itertools import combinations, product, zip_longest
from pathlib import Path
from typing import Literal, TypeVar

import pandas as pd
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, ValidationError

from ekd_nmt.common.command import run
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import atomic_write, read_lines, sha256
from ekd_nmt.config.types import SPLITS
from ekd_nmt.report.data_report_page import CORPORA, STAGES, Facts, Histograms, Limits, of_lengths, render, warnings

REVISION = 1  # of what this command writes: raise it when the same input gives another output

Split = Literal["train", "valid", "test"]
Counts = dict[str, NonNegativeInt]
Lengths = dict[str, dict[NonNegativeInt, NonNegativeInt]]  # language → tokens in a sentence → sentences


class Counted(BaseModel):
    """What all counts have in common: no text for a number, no booleans; keys for other readers are left out."""

    model_config = ConfigDict(strict=True, frozen=True)


class Account(Counted):
    """The lines of one split in one step; split ``""`` is the whole corpus before it is split."""

    step: str
    split: Split | Literal[""]
    lines_in: PositiveInt
    lines_out: PositiveInt
    dropped: Counts
    parts: Counts = {}
    expected: NonNegativeInt | None = None  # lines out, as published

    def __str__(self) -> str:
        return f"{self.step} of {self.split or 'the whole corpus'}"


class Report(Counted):
    """Accounts in their order. With lengths they are of one split; these are before the first and after the last."""

    accounts: list[Account]
    lengths: dict[Literal["before", "after"], Lengths] = {}


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


Model = TypeVar("Model", bound=Counted)


def load(path: Path, model: type[Model]) -> Model:
    """Read a JSON file.

    Raises:
        UserError: the file cannot be read, is not JSON, or a value is missing or of another kind (the key is named).
    """
    try:
        return model.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); run the step that writes it") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "content"
        raise UserError(f"{path}: {key}: {first['msg']}; delete it and run the step that writes it") from error


def need(where: str, given: Container[str], names: Sequence[str]) -> None:
    """Raise :class:`UserError` when one of ``names``, splits or languages, is not in ``given``."""
    for name in names:
        if name not in given:
            raise UserError(f"{where}: nothing of {name}; pass the files of all splits, made with both languages")


def agree(where: str, lines: int, what: str, expected: int) -> None:
    """Raise ``RuntimeError`` when numbers of lines differ, because then a step has a bug."""
    if lines != expected:
        raise RuntimeError(f"{where}: {lines} lines, but {what} {expected}")


def check_accounts(accounts: Sequence[Account]) -> dict[str, int]:
    """Put the accounts end to end; return the lines that each split has in the end.

    Raises:
        UserError: an account is given twice, or a split has none.
        RuntimeError: lines appear or disappear within a step, between two, or where the corpus is split.
    """
    last: dict[str, Account] = {}
    seen = set()
    for account in accounts:
        if (account.step, account.split) in seen:
            raise UserError(f"--accounts: {account} is given twice; pass each file once")
        seen.add((account.step, account.split))
        kept = account.lines_in - sum(account.dropped.values())
        agree(f"{account}, out", account.lines_out, f"{account.lines_in} in less those dropped are", kept)
        if before := last.get(account.split):
            agree(f"{account}, in", account.lines_in, f"{before} gave", before.lines_out)
        last[account.split] = account
    need("--accounts", last, SPLITS)
    if whole := last.get(""):
        shares = sum(account.lines_in for account in accounts if account.step == "split" and account.split)
        agree(f"{whole}, out", whole.lines_out, "split, in, has altogether", shares)
    return {split: last[split].lines_out for split in SPLITS}


def gather_lengths(reports: Sequence[Report], segmented: Sequence[Segmented], languages: Sequence[str]) -> Histograms:
    """The lengths of each split and language: ``before`` of a split's first report, ``after`` of its last, in pieces.

    Raises:
        UserError: a split or a language has none.
        RuntimeError: there are more or fewer lengths than lines.
    """
    found: Histograms = {}
    for report in (report for report in reports if report.accounts and report.lengths):
        first, last = report.accounts[0], report.accounts[-1]
        for stage, lines in (("before", first.lines_in), ("after", last.lines_out)):
            sides = report.lengths.get(stage, {})
            need(f"{last}, lengths {stage}", sides, languages)
            for language in languages:
                agree(f"{last}, lengths {stage} in {language}", sum(sides[language].values()), "of", lines)
                if stage == "after" or (last.split, language, stage) not in found:
                    found[last.split, language, stage] = sides[language]
    need("--accounts, lengths", {split for split, _, _ in found}, SPLITS)
    for part, language in product(segmented, languages):
        found[part.split, language, "bpe"] = part.lengths[language]
    return {key: {n: c for n, c in sorted(found[key].items()) if c} for key in product(SPLITS, languages, STAGES)}


def check_subwords(
    segmented: Sequence[Segmented], binarized: Binarized, languages: Sequence[str], kept: Mapping[str, int]
) -> None:
    """Follow the lines that the accounts ``kept`` into the subwords and the binarised data.

    Raises:
        UserError: a split or a language is missing or given twice.
        RuntimeError: a split has another number of lines there.
    """
    if sorted(part.split for part in segmented) != sorted(SPLITS):
        raise UserError(f"--bpe: of {', '.join(part.split for part in segmented)}; pass one file each of {SPLITS}")
    need("--binarized, dictionaries", binarized.dictionaries, languages)
    need("--binarized, splits", binarized.splits, SPLITS)
    for part in segmented:
        agree(f"bpe of {part.split}", part.lines, "the last account has", kept[part.split])
        sides = binarized.splits[part.split]
        need(f"--binarized, {part.split}", sides, languages)
        for counts in (part.words, part.pieces, part.lengths):
            need(f"--bpe, {part.split}", counts, languages)
        for language in languages:
            agree(f"bpe of {part.split}, lengths in {language}", sum(part.lengths[language].values()), "of", part.lines)
            agree(f"binarise of {part.split} in {language}", sides[language].sentences, "bpe has", part.lines)


def overlaps(tok: Path, languages: Sequence[str], kept: Mapping[str, int]) -> dict[tuple[str, str], list[int]]:
    """Count what splits share: (first, second) → lines of the first whose source, target, both are in the second.

    Raises:
        UserError: a file cannot be read, is not UTF-8, or the sides of a split differ in length.
        RuntimeError: a split has not the number of lines that the accounts ``kept``.
    """
    shared = {pair: [0, 0, 0] for pair in combinations(SPLITS, 2)}
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
        agree(f"tok of {split}", lines, "the last account has", kept[split])
        held[split] = [items - {"", ("", "")} for items in own]
    return shared


def of_accounts(accounts: Sequence[Account]) -> Facts:
    """The lines of each step."""
    facts: Facts = {}
    for account in accounts:
        parts = {f"part: {label}": count for label, count in account.parts.items()}
        dropped = {f"dropped: {reason}": count for reason, count in account.dropped.items()}
        counts = {"lines_in": account.lines_in, **parts, **dropped, "lines_out": account.lines_out}
        counts |= {} if account.expected is None else {"expected": account.expected}
        facts |= {(account.step, account.split, "", measure): count for measure, count in counts.items()}
    return facts


def of_subwords(segmented: Sequence[Segmented], binarized: Binarized, languages: Sequence[str]) -> Facts:
    """The subword pieces of each split, and what the dictionaries know of them."""
    facts: Facts = {("bpe", part.split, "", "lines"): part.lines for part in segmented}
    for part, language in product(segmented, languages):
        words, pieces = part.words[language], part.pieces[language]
        counts = {"words": words, "pieces": pieces, "pieces per word": pieces / max(words, 1)}
        facts |= {("bpe", part.split, language, measure): count for measure, count in counts.items()}
    for split, language in product(SPLITS, languages):
        side = binarized.splits[split][language]
        counts = {**side.model_dump(), "unknown rate": side.unknown / max(side.tokens, 1)}
        facts |= {("binarise", split, language, measure): count for measure, count in counts.items()}
    facts |= {("binarise", "", language, "dictionary"): binarized.dictionaries[language] for language in languages}
    return facts | {("binarise", "", "", "joined dictionary"): "yes" if binarized.joined else "no"}


def of_files(data_dir: Path, languages: Sequence[str], kept: Mapping[str, int]) -> Facts:
    """What splits share, and the SHA-256 of every corpus; raises as :func:`overlaps`, and when a file is missing."""
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
    files = {"type": Path, "nargs": "+", "required": True, "metavar": "JSON"}
    parser = argparse.ArgumentParser(description="Account for every line of a corpus.")
    parser.add_argument("--experiment", required=True, metavar="NAME", help="for the page's title")
    parser.add_argument("--source-lang", required=True, metavar="CODE")
    parser.add_argument("--target-lang", required=True, metavar="CODE")
    parser.add_argument("--data-dir", required=True, type=Path, metavar="DIR", help="holds raw, tok and bpe")
    parser.add_argument("--accounts", **files, help="reports of the steps, in the order of the pipeline")
    parser.add_argument("--bpe", **files, help="counts of the segmented text, one a split")
    parser.add_argument("--binarized", required=True, type=Path, metavar="JSON", help="counts of the binarised data")
    for flag, kind in (("--min-tokens", int), ("--max-tokens", int), ("--max-ratio", float)):
        parser.add_argument(flag, type=kind, metavar="N", help="limit of prepare.py for training, to be shown")
    parser.add_argument("--csv", required=True, type=Path, metavar="FILE", help="every number, one a row")
    parser.add_argument("--lengths", required=True, type=Path, metavar="FILE", help="sentences by length, CSV")
    parser.add_argument("--page", required=True, type=Path, metavar="FILE", help="HTML")
    args = parser.parse_args()

    languages = (args.source_lang, args.target_lang)
    if languages[0] == languages[1]:
        raise UserError(f"--source-lang and --target-lang are both {languages[0]}; name two languages")
    reports = [load(path, Report) for path in args.accounts]
    segmented, binarized = [load(path, Segmented) for path in args.bpe], load(args.binarized, Binarized)
    segmented.sort(key=lambda part: SPLITS.index(part.split))
    accounts = [account for report in reports for account in report.accounts]
    kept = check_accounts(accounts)
    check_subwords(segmented, binarized, languages, kept)
    histograms = gather_lengths(reports, segmented, languages)
    facts = of_accounts(accounts) | of_lengths(histograms) | of_subwords(segmented, binarized, languages)
    facts |= of_files(args.data_dir, languages, kept)

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
