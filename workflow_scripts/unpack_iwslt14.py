r"""Unpack IWSLT'14 into raw train, valid and test pairs, with the splits of fairseq's ``prepare-iwslt14.sh``.

The archive is the ``de-en.tgz`` that the script downloads; it serves both directions. The recipe:

1. Training text is ``train.tags``. Lines with ``<url>``, ``<talkid>`` or ``<keywords>`` are dropped; ``<title>`` and
   ``<description>`` lose their tags and stay: 174,443 pairs.
2. It is tokenised, and ``clean-corpus-n.perl`` drops pairs by their lengths (1 to 175 tokens, ratio 1.5).
3. Every 23rd of the remaining pairs is for validation, the others are for training: 7,283 and 160,239 pairs.
4. The test set is five sets, 6,750 pairs, never filtered: the text of every ``<seg id``, with ’ turned into '.
   Entities such as ``&amp;`` are not resolved, here or in the training text.

Which pair is a 23rd one is known only after the filter, and the filter counts tokens. So this step tokenises and
filters as ``prepare.py`` does with the same options, and writes the untokenised text of the remaining pairs.
``prepare.py`` then drops nothing: line *n* of ``raw/train`` is line *n* of ``tok/train``, and the counts of dropped
pairs are in ``raw/stats.json``. Unlike the recipe, lines of ``<speaker>``, ``<reviewer>``, ``<translator>`` and
``<doc>`` are dropped too: other releases have them, this archive does not.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ekd_nmt.common.command import run
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import atomic_write, write_json
from ekd_nmt.config.types import SPLITS
from ekd_nmt.corpus.archives import read_members
from ekd_nmt.corpus.filters import LENGTH_REASONS, LengthFilter
from ekd_nmt.corpus.moses import Tokenize, make_tokenizer
from ekd_nmt.corpus.token_options import add_token_options

REVISION = 1  # of what this command writes: raise it when the same input gives another output

TEST_SETS = ("TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012")  # the recipe's order
HELD_OUT = 23  # every 23rd pair that the filter keeps is for validation
RECIPE = LengthFilter(1, 175, 1.5)
TOLERANCE = 0.001  # of training and validation pairs: the filter counts tokens, and no two tokenisers quite agree

METADATA = ("<url>", "<talkid>", "<keywords>")
METADATA_OF_OTHER_RELEASES = re.compile(r"\s*</?(speaker|reviewer|translator|doc)\b")
TAGS_AROUND_TEXT = re.compile(r"</?(title|description)>")
SEGMENT_TAGS = re.compile(r'<seg id="[0-9]*">\s*|\s*</seg>\s*')

Pair = tuple[str, str]  # source and target sentence


def training_sentence(line: str) -> str | None:
    """The text of a line of ``train.tags``, or ``None`` for metadata."""
    if any(tag in line for tag in METADATA) or METADATA_OF_OTHER_RELEASES.match(line):
        return None
    return TAGS_AROUND_TEXT.sub("", line).strip()


def segment(line: str) -> str | None:
    """The text of a line of a test set's XML, possibly empty, or ``None`` for a line without a segment."""
    if "<seg id" not in line:
        return None
    return SEGMENT_TAGS.sub("", line).replace("’", "'").strip()


@dataclass(frozen=True)
class Corpus:
    """The text of the archive: unfiltered training pairs, and the test sets by name in the recipe's order."""

    train: list[Pair]
    test: dict[str, list[Pair]]


def load(archive: Path, source_lang: str, target_lang: str) -> Corpus:
    """Read an archive of the published layout.

    Raises:
        UserError: the archive cannot be read or is unsafe (see :func:`archives.read_members`), lacks the language pair
            or a file, a line is not UTF-8, or the sides of a file differ in length.
    """
    languages = (source_lang, target_lang)
    directions = {
        f"{first}-{second}": _files(f"{first}-{second}", languages) for first, second in (languages, languages[::-1])
    }
    wanted = {name for files in directions.values() for sides in files for name in sides}
    contents, names = read_members(archive, wanted)

    files = next((files for files in directions.values() if any(name in contents for name in files[0])), None)
    if files is None:
        present = sorted({name.split(".")[-2] for name in names if "train.tags." in name})
        raise UserError(
            f"{archive}: has no {source_lang}-{target_lang}, it has {', '.join(present) or 'no language pair at all'}; "
            "fix data.source_lang and data.target_lang, or the archive"
        )
    missing = [name for sides in files for name in sides if name not in contents]
    if missing:
        raise UserError(f"{archive}: lacks {', '.join(missing)}; it is not the published archive, fetch it again")

    def pairs(sides: Pair, sentence: Callable[[str], str | None]) -> list[Pair]:
        both = []
        for name in sides:
            lines = decoded_lines(contents.pop(name), f"{archive}: {name}")
            both.append([text for line in lines if (text := sentence(line)) is not None])
        if len(both[0]) != len(both[1]):
            raise UserError(
                f"{archive}: {sides[0]} has {len(both[0])} sentences but {sides[1]} has {len(both[1])}; "
                "both sides must match line by line, so fetch it again"
            )
        return list(zip(*both, strict=True))

    train, *tests = files
    test = {name: pairs(sides, segment) for name, sides in zip(TEST_SETS, tests, strict=True)}
    return Corpus(pairs(train, training_sentence), test)


def _files(pair: str, languages: Pair) -> list[Pair]:
    """Names in the archive, source and target side: the training text, then the test sets."""
    stems = [("train.tags", ""), *((f"IWSLT14.{name}", ".xml") for name in TEST_SETS)]
    source, target = languages
    return [(f"{pair}/{stem}.{pair}.{source}{end}", f"{pair}/{stem}.{pair}.{target}{end}") for stem, end in stems]


def decoded_lines(content: bytes, where: str) -> Iterator[str]:
    r"""Yield the lines of UTF-8 text, which end at ``\n`` alone; :class:`UserError` names a line that is not UTF-8."""
    for number, line in enumerate(content.removesuffix(b"\n").split(b"\n"), start=1):
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{where}, line {number}: not UTF-8 (byte {error.start + 1}); fetch it again") from error


def size_warning(sizes: Mapping[str, int], expected: Mapping[str, int], recipe: bool) -> str | None:
    """A warning if splits differ a little from the published ones, else ``None``.

    Args:
        sizes: pairs of each split.
        expected: the published sizes.
        recipe: whether the splits were made with the recipe's options; otherwise only the test set is compared.

    Raises:
        UserError: they differ by more than the tokeniser can explain, so this is not the published archive.
    """
    compared = SPLITS if recipe else ("test",)
    tolerance = {"train": TOLERANCE, "valid": TOLERANCE, "test": 0}
    off = {split: abs(sizes[split] - expected[split]) for split in compared}
    differences = ", ".join(f"{split} {sizes[split]} (not {expected[split]})" for split in compared if off[split])
    if any(off[split] > tolerance[split] * expected[split] for split in compared):
        raise UserError(f"split sizes differ from the published ones: {differences}; it is not the published archive")
    return f"split sizes differ from the published ones: {differences}" if differences else None


def unpack(
    corpus: Corpus,
    tokenizers: dict[str, Tokenize],
    kept: LengthFilter,
    folder: Path,
    expected: Mapping[str, int] | None = None,
    recipe: bool = False,
) -> dict[str, Any]:
    """Filter, split and write ``folder/{train,valid,test}.{language}``: all six files or none.

    Args:
        corpus: the text.
        tokenizers: source and target language, in this order, each with its tokeniser.
        kept: the filter of training and validation pairs.
        folder: where to write.
        expected: published sizes of the splits.
        recipe: whether the options are the recipe's, with which the published sizes were made.

    Returns:
        The line counts, and a ``warning`` about the sizes or ``None``.

    Raises:
        UserError: the filter leaves too few pairs for a validation set, or the archive is not the published one.
    """
    dropped = dict.fromkeys(LENGTH_REASONS, 0)
    sizes = dict.fromkeys(SPLITS, 0)
    with ExitStack() as stack:
        files = {
            split: [stack.enter_context(atomic_write(folder / f"{split}.{language}")) for language in tokenizers]
            for split in SPLITS
        }

        def write(split: str, pair: Pair) -> None:
            sizes[split] += 1
            for file, sentence in zip(files[split], pair, strict=True):
                file.write(f"{sentence}\n")

        for pair in corpus.train:
            lengths = [len(tokenize(text)) for tokenize, text in zip(tokenizers.values(), pair, strict=True)]
            if (reason := kept.reason_to_drop(*lengths)) is not None:
                dropped[reason] += 1
                continue
            number = sizes["train"] + sizes["valid"] + 1
            write("train" if number % HELD_OUT else "valid", pair)
        for pairs in corpus.test.values():
            for pair in pairs:
                write("test", pair)
        if not sizes["valid"]:
            raise UserError(
                f"only {sizes['train']} of {len(corpus.train)} training pairs pass the filter, too few for one of "
                f"every {HELD_OUT} to be held out; loosen data.filter, or fetch the archive again"
            )
        warning = size_warning(sizes, expected, recipe) if expected else None
    lines_in = len(corpus.train) + sizes["test"]
    whole = {"step": "unpack", "split": "", "lines_in": lines_in, "lines_out": sum(sizes.values()), "dropped": dropped}
    splits = [
        {"step": "split", "split": split, "lines_in": size, "lines_out": size, "dropped": {}}
        | ({"expected": expected[split]} if expected else {})
        for split, size in sizes.items()
    ]
    splits[-1]["parts"] = {name: len(pairs) for name, pairs in corpus.test.items()}
    return {"accounts": [whole, *splits], "warning": warning}


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description="Unpack and split IWSLT'14 as fairseq's recipe does.")
    parser.add_argument("--archive", required=True, type=Path, metavar="TGZ", help="de-en.tgz")
    add_token_options(parser)
    parser.add_argument(
        "--expect",
        nargs=3,
        type=int,
        metavar=("TRAIN", "VALID", "TEST"),
        help="published sizes, compared with the result",
    )
    parser.add_argument("--output-dir", required=True, type=Path, metavar="DIR", help="for the splits and stats.json")
    args = parser.parse_args()

    kept = LengthFilter(args.min_tokens, args.max_tokens, args.max_ratio)
    tokenizers = {
        language: make_tokenizer(language, split_final_period=args.split_final_period)
        for language in (args.source_lang, args.target_lang)
    }
    corpus = load(args.archive, args.source_lang, args.target_lang)
    expected = dict(zip(SPLITS, args.expect, strict=True)) if args.expect else None
    recipe = kept == RECIPE and args.split_final_period
    try:
        stats = unpack(corpus, tokenizers, kept, args.output_dir, expected, recipe)
    except UserError as error:
        raise UserError(f"{args.archive}: {error}") from error
    if warning := stats.pop("warning"):
        print(f"warning: {args.archive}: {warning}", file=sys.stderr)
    write_json(args.output_dir / "stats.json", stats)


if __name__ == "__main__":
    run(main)
