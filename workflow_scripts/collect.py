r"""Write one split of a corpus from its parts, in the order given, as two plain files that match line by line.

A part is two texts (``--part``), two columns of a table (``--tsv``) or a WMT test set (``--testset``). Texts may be
compressed or lie in archives; ``textfiles.py`` says how they are named and what a line is. Nothing is changed in a
sentence. The report has what came in, what was dropped and why, what each part gave, and of a test set the reference.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any, Protocol

from ekd_nmt.common.command import run
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import atomic_write, write_json
from ekd_nmt.corpus.text_files import open_text
from ekd_nmt.corpus.wmt_test_sets import TestSet, read_testset

REVISION = 1  # of what this command writes: raise it when the same input gives another output

Pair = tuple[str, str]  # source and target sentence
SIDES = ("source", "target")


class Part(Protocol):
    """A piece of the corpus; ``str`` of it names its files, in messages."""

    label: str

    def pairs(self) -> Iterator[Pair | None]:
        """The sentence pairs in order, ``None`` for each that is malformed and to be dropped."""


@dataclass(frozen=True)
class Texts:
    """Two texts; each line of one translates the same line of the other."""

    label: str
    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.source} and {self.target}"

    def pairs(self) -> Iterator[Pair]:
        """See :class:`Part`; :class:`UserError` if the texts differ in length."""
        sides = (open_text(self.source), open_text(self.target))
        for number, (source, target) in enumerate(zip_longest(*sides)):
            if source is None or target is None:
                longer = number + 1 + sum(1 for side in sides for _ in side)
                counts = (number, longer) if source is None else (longer, number)
                raise UserError(
                    f"{self.source} has {counts[0]} lines but {self.target} has {counts[1]}; "
                    "the sides of a parallel corpus must match line by line, so take both from the same release"
                )
            yield source, target


@dataclass(frozen=True)
class Table:
    """A text with a pair a line, in columns parted by tabs, without quoting. ``columns`` count from 0."""

    label: str
    place: str
    columns: tuple[int, int]
    skip_malformed: bool

    def __str__(self) -> str:
        return self.place

    def pairs(self) -> Iterator[Pair | None]:
        """See :class:`Part`; :class:`UserError` if a line lacks a column and malformed lines are not to be dropped."""
        source, target = self.columns
        needed = max(self.columns) + 1
        for number, line in enumerate(open_text(self.place), start=1):
            fields = line.split("\t", needed)
            if len(fields) >= needed:
                yield fields[source], fields[target]
            elif self.skip_malformed:
                yield None
            else:
                raise UserError(
                    f"{self.place}, line {number}: lacks column {needed}, it has {len(fields)}; "
                    "columns are parted by tabs, so mend the line or the columns (two plain texts are two files)"
                )


@dataclass(frozen=True)
class Published:
    """A test set."""

    label: str
    name: str
    testset: TestSet

    def __str__(self) -> str:
        return f"test set {self.name}"

    def pairs(self) -> Iterator[Pair]:
        """See :class:`Part`."""
        return iter(self.testset.pairs)


def write_part(part: Part, outputs: Sequence[IO[str]]) -> tuple[int, int]:
    """Write the pairs of one part; return how many there were and how many were malformed.

    Raises:
        UserError: the part cannot be read, is malformed, or has no text on one of its sides.
    """
    write_source, write_target = (output.write for output in outputs)
    kept = malformed = 0
    textless = set(SIDES)
    for pair in part.pairs():
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
        raise UserError(f"part {part.label!r}, {part}: {why}; fetch it again or name other files")
    if textless:
        raise UserError(
            f"part {part.label!r}, {part}: the {min(textless)} side holds no text; fetch it again or name other files"
        )
    return kept, malformed


def collect(
    parts: Sequence[Part], output_source: Path, output_target: Path, split: str = "", expected: int | None = None
) -> dict[str, Any]:
    """Write both sides of the parts, in constant memory; write nothing when a check fails.

    Args:
        parts: in the order of the output.
        output_source: where the source side goes.
        output_target: where the target side goes.
        split: its name in the report, ``""`` for a corpus that is not split yet.
        expected: the number of pairs that there must be.

    Returns:
        The account of this step: lines in and out, dropped by reason, pairs by part, references by test set.

    Raises:
        UserError: there is no part or two have one label, a part is at fault (see :func:`write_part`), or the number of
            pairs is not the one expected.
    """
    if not parts:
        raise UserError("nothing to collect; name a part with --part, --tsv or --testset")
    kept: dict[str, int] = {}
    malformed = 0
    with atomic_write(output_source) as source, atomic_write(output_target) as target:
        for part in parts:
            if part.label in kept:
                raise UserError(f"two parts are called {part.label!r}; give each a label of its own")
            kept[part.label], dropped = write_part(part, (source, target))
            malformed += dropped
        total = sum(kept.values())
        if expected not in (None, total):
            counts = ", ".join(f"{label} {count}" for label, count in kept.items())
            raise UserError(
                f"{total} pairs instead of the {expected} that are published ({counts}; {malformed} malformed); "
                "fetch the files again, or mend the number"
            )
    account = {
        "step": "collect",
        "split": split,
        "lines_in": total + malformed,
        "lines_out": total,
        "dropped": {"malformed": malformed},
        "parts": kept,
    }
    if expected is not None:
        account["expected"] = expected
    if references := {part.label: part.testset.reference for part in parts if isinstance(part, Published)}:
        account["references"] = references
    return account


def make_part(kind: str, words: Sequence[str], args: argparse.Namespace) -> Part:
    """The part that a flag (``part``, ``tsv`` or ``testset``) and its three values describe.

    Raises:
        UserError: the columns are not two different whole numbers from 1, or the test set cannot be read.
    """
    label, *rest = words
    if kind == "part":
        return Texts(label, *rest)
    if kind == "tsv":
        return Table(label, rest[0], parse_columns(rest[1]), args.skip_malformed)
    return Published(label, rest[0], read_testset(*rest, args.source_lang, args.target_lang))


def parse_columns(text: str) -> tuple[int, int]:
    """Source and target column, counted from 0, of a text such as ``1,2`` that counts from 1."""
    numbers = [int(number) if number.isdecimal() else 0 for number in text.split(",")]
    if len(numbers) != 2 or 0 in numbers or numbers[0] == numbers[1]:
        raise UserError(f"columns {text!r}: must be two different numbers from 1, source and target, such as 1,2")
    return numbers[0] - 1, numbers[1] - 1


class AppendPart(argparse.Action):
    """Keep the parts of all kinds in the order of the command line, each as ``(kind, three words)``."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        """As :class:`argparse.Action` defines it."""
        kind = self.option_strings[0].removeprefix("--")
        namespace.parts = [*namespace.parts, (kind, values)]


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Write one split of a parallel corpus from its parts.")
    parser.add_argument("--source-lang", required=True, metavar="CODE", help="such as de")
    parser.add_argument("--target-lang", required=True, metavar="CODE", help="such as en")
    part = {"action": AppendPart, "nargs": 3, "dest": "parts", "default": []}
    texts, table, testset = ("LABEL", "SOURCE", "TARGET"), ("LABEL", "FILE", "COLUMNS"), ("LABEL", "NAME", "ARCHIVE")
    parser.add_argument("--part", **part, metavar=texts, help="two texts; each a file or ARCHIVE::MEMBER")
    parser.add_argument("--tsv", **part, metavar=table, help="a table; its columns for source and target, such as 1,2")
    parser.add_argument("--testset", **part, metavar=testset, help="a WMT test set, named as sacreBLEU names it")
    parser.add_argument("--skip-malformed", action="store_true", help="drop and count table lines with too few columns")
    parser.add_argument("--expect", type=int, metavar="N", help="fail unless so many pairs are written")
    parser.add_argument("--split", default="", metavar="NAME", help="for the report; leave out for a whole corpus")
    parser.add_argument("--output-source", required=True, type=Path, metavar="FILE")
    parser.add_argument("--output-target", required=True, type=Path, metavar="FILE")
    parser.add_argument("--report", required=True, type=Path, metavar="JSON", help="lines in, out and dropped, by part")
    return parser.parse_args()


def main() -> None:
    """Command line: see the module's docstring."""
    args = parse_arguments()
    parts = [make_part(kind, words, args) for kind, words in args.parts]
    account = collect(parts, args.output_source, args.output_target, args.split, args.expect)
    write_json(args.report, {"accounts": [account]})


if __name__ == "__main__":
    run(main)
