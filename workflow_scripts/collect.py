r"""Write one split of a corpus from its parallel texts, in the order given, as two plain files with matching lines.

A parallel text is two files (``--texts``), two columns of a table (``--tsv``) or a WMT test set (``--test-set``). Files
may be compressed or in archives; :mod:`ekd_nmt.corpus.text_files` describes how they are named and what a line is.
Sentences are not changed. The report has the lines in, out and dropped, the pairs of each text, and the reference of
each test set.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any

from ekd_nmt.common.command import run
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import atomic_write, write_json
from ekd_nmt.corpus.text_files import open_text
from ekd_nmt.corpus.wmt_test_sets import read_testset

REVISION = 1  # of what this command writes: raise it when the same input gives another output

Pair = tuple[str, str]  # source and target sentence
SIDES = ("source", "target")


@dataclass(frozen=True)
class Bitext:
    """A parallel text.

    Attributes:
        label: its name in the report.
        files: what it is read from, for messages.
        pairs: the sentence pairs in order; ``None`` for a malformed one, which is dropped.
        reference: sacreBLEU's name of the reference of a test set.
    """

    label: str
    files: str
    pairs: Iterator[Pair | None]
    reference: str | None = None


def read_texts(source: str, target: str) -> Iterator[Pair]:
    """Yield the pairs of two texts, line by line; :class:`UserError` if the texts differ in length."""
    sides = (open_text(source), open_text(target))
    for number, (source_line, target_line) in enumerate(zip_longest(*sides)):
        if source_line is None or target_line is None:
            longer = number + 1 + sum(1 for side in sides for _ in side)
            counts = (number, longer) if source_line is None else (longer, number)
            raise UserError(
                f"{source} has {counts[0]} lines but {target} has {counts[1]}; "
                "the sides of a parallel corpus must match line by line, so take both from the same release"
            )
        yield source_line, target_line


def read_table(place: str, columns: tuple[int, int], skip_malformed: bool) -> Iterator[Pair | None]:
    """Yield the pairs of a tab-separated file without quoting; ``columns`` are source and target, from 0.

    Raises:
        UserError: a line lacks a column, unless malformed lines are skipped.
    """
    source, target = columns
    needed = max(columns) + 1
    for number, line in enumerate(open_text(place), start=1):
        fields = line.split("\t", needed)
        if len(fields) >= needed:
            yield fields[source], fields[target]
        elif skip_malformed:
            yield None
        else:
            raise UserError(
                f"{place}, line {number}: lacks column {needed}, it has {len(fields)}; "
                "columns are separated by tabs, so fix the line or the columns (two plain texts are two files)"
            )


def write_bitext(bitext: Bitext, outputs: Sequence[IO[str]]) -> tuple[int, int]:
    """Write the pairs of one parallel text; return how many there were and how many lines were malformed.

    Raises:
        UserError: it cannot be read, is malformed, or has no text on one of its sides.
    """
    write_source, write_target = (output.write for output in outputs)
    kept = malformed = 0
    textless = set(SIDES)
    for pair in bitext.pairs:
        if pair is None:
            malformed += 1
            continue
        source, target = pair
        write_source(source + "\n")
        write_target(target + "\n")
        kept += 1
        if textless:
            textless -= {side for side, sentence in zip(SIDES, pair, strict=True) if sentence.strip()}
    if not kept:
        why = f"all its {malformed} lines are malformed" if malformed else "is empty"
    elif textless:
        why = f"the {min(textless)} side is blank"
    else:
        return kept, malformed
    raise UserError(f"text {bitext.label!r}, {bitext.files}: {why}; fetch it again or name other files")


def collect(
    bitexts: Sequence[Bitext], output_source: Path, output_target: Path, split: str = "", expected: int | None = None
) -> dict[str, Any]:
    """Write both sides of the texts, in constant memory; write nothing if a check fails.

    Args:
        bitexts: in the order of the output.
        output_source: the file of the source side.
        output_target: the file of the target side.
        split: its name in the report, ``""`` for a corpus that is not split yet.
        expected: the published number of pairs.

    Returns:
        The line counts of this step: in, out, dropped by reason, pairs by text, references by test set.

    Raises:
        UserError: there is no text, two have the same label, one is invalid (see :func:`write_bitext`), or the number
            of pairs is not the expected one.
    """
    if not bitexts:
        raise UserError("nothing to collect; name a text with --texts, --tsv or --test-set")
    kept: dict[str, int] = {}
    malformed = 0
    with atomic_write(output_source) as source, atomic_write(output_target) as target:
        for bitext in bitexts:
            if bitext.label in kept:
                raise UserError(f"two texts are called {bitext.label!r}; give each a label of its own")
            kept[bitext.label], dropped = write_bitext(bitext, (source, target))
            malformed += dropped
        total = sum(kept.values())
        if expected not in (None, total):
            counts = ", ".join(f"{label} {count}" for label, count in kept.items())
            raise UserError(
                f"{total} pairs instead of the {expected} that are published ({counts}; {malformed} malformed); "
                "fetch the files again, or correct the number"
            )
    line_counts: dict[str, Any] = {
        "step": "collect",
        "split": split,
        "lines_in": total + malformed,
        "lines_out": total,
        "dropped": {"malformed": malformed},
        "parts": kept,
    }
    if expected is not None:
        line_counts["expected"] = expected
    references = {bitext.label: bitext.reference for bitext in bitexts if bitext.reference is not None}
    if references:
        line_counts["references"] = references
    return line_counts


def make_bitext(kind: str, words: Sequence[str], args: argparse.Namespace) -> Bitext:
    """The parallel text that a flag (``texts``, ``tsv`` or ``test-set``) and its three values describe.

    Raises:
        UserError: the columns are not two different whole numbers from 1, or the test set cannot be read.
    """
    label, first, second = words
    if kind == "texts":
        return Bitext(label, f"{first} and {second}", read_texts(first, second))
    if kind == "tsv":
        return Bitext(label, first, read_table(first, parse_columns(second), args.skip_malformed))
    test_set = read_testset(first, second, args.source_lang, args.target_lang)
    return Bitext(label, f"test set {first}", iter(test_set.pairs), test_set.reference)


def parse_columns(text: str) -> tuple[int, int]:
    """Source and target column, counted from 0, of a text such as ``1,2`` that counts from 1."""
    numbers = [int(number) if number.isdecimal() else 0 for number in text.split(",")]
    if len(numbers) != 2 or 0 in numbers or numbers[0] == numbers[1]:
        raise UserError(f"columns {text!r}: must be two different numbers from 1, source and target, such as 1,2")
    return numbers[0] - 1, numbers[1] - 1


class AppendText(argparse.Action):
    """Keep texts of all kinds in the order of the command line, each as ``(kind, three words)``."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """As :class:`argparse.Action` defines it."""
        kind = self.option_strings[0].removeprefix("--")
        namespace.texts = [*namespace.texts, (kind, values)]


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Write one split of a parallel corpus.")
    parser.add_argument("--source-lang", required=True, metavar="CODE", help="such as de")
    parser.add_argument("--target-lang", required=True, metavar="CODE", help="such as en")
    text: dict[str, Any] = {"action": AppendText, "nargs": 3, "dest": "texts", "default": []}
    files, table, test_set = ("LABEL", "SOURCE", "TARGET"), ("LABEL", "FILE", "COLUMNS"), ("LABEL", "NAME", "ARCHIVE")
    parser.add_argument("--texts", **text, metavar=files, help="two texts; each a file or ARCHIVE::MEMBER")
    parser.add_argument("--tsv", **text, metavar=table, help="a table; its columns for source and target, such as 1,2")
    parser.add_argument("--test-set", **text, metavar=test_set, help="a WMT test set, by its name in sacreBLEU")
    parser.add_argument("--skip-malformed", action="store_true", help="drop and count table lines with too few columns")
    parser.add_argument("--expect", type=int, metavar="N", help="fail unless so many pairs are written")
    parser.add_argument("--split", default="", metavar="NAME", help="for the report; leave out for a whole corpus")
    parser.add_argument("--output-source", required=True, type=Path, metavar="FILE")
    parser.add_argument("--output-target", required=True, type=Path, metavar="FILE")
    parser.add_argument("--report", required=True, type=Path, metavar="JSON", help="lines in, out and dropped")
    return parser.parse_args()


def main() -> None:
    """Command line: see the module's docstring."""
    args = parse_arguments()
    bitexts = [make_bitext(kind, words, args) for kind, words in args.texts]
    line_counts = collect(bitexts, args.output_source, args.output_target, args.split, args.expect)
    write_json(args.report, {"accounts": [line_counts]})


if __name__ == "__main__":
    run(main)
