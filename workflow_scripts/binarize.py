"""Build fairseq dictionaries and binarised data from BPE-segmented text, in the formats of fairseq-preprocess.

Reads ``{bpe-dir}/{train,valid,test}.{source,target}``; the dictionaries are those of the training text. The output
folder is written atomically, by renaming a temporary one. It contains no log and no path, so equal input gives equal
bytes, whatever the number of workers.
"""

from __future__ import annotations

import argparse
import fnmatch
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ekd_nmt.common.command import run
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import read_lines, write_json
from ekd_nmt.common.log_filters import quiet
from ekd_nmt.config.types import SPLITS

if TYPE_CHECKING:
    from kd.binarization import Encoded
    from kd.fairseq_api import Dictionary

REVISION = 1  # of what this command writes: raise it when the same input gives another output

OWN_FILES = ("dict.*.txt", "*.bin", "*.idx", ".snakemake_timestamp")

Languages = tuple[str, str]  # source and target
Map = Callable[..., Iterable[Any]]  # the built-in map, or one that runs in several processes


def count_tokens(bpe_dir: Path, language: str) -> tuple[dict[str, int], Counter[str]]:
    r"""Count the lines of each split, and each token of the training text.

    ``\r`` is an error, because fairseq would end a line of the dictionary there.

    Raises:
        UserError: a file is missing, empty, not UTF-8, or contains a carriage return.
    """
    lengths: dict[str, int] = {}
    counts: Counter[str] = Counter()
    for split in SPLITS:
        path = bpe_dir / f"{split}.{language}"
        lines = 0
        for lines, line in enumerate(read_lines(path), start=1):
            if "\r" in line:
                raise UserError(f"{path}, line {lines}: contains a carriage return; make the text with prepare.py")
            if split == "train":
                counts.update(line.split())
        if lines == 0:
            raise UserError(f"{path}: is empty; each of {', '.join(SPLITS)} needs at least one line")
        lengths[split] = lines
    return lengths, counts


def check_lengths(bpe_dir: Path, lengths: dict[str, dict[str, int]]) -> None:
    """Require both sides of each split to have the same number of lines.

    Raises:
        UserError: they differ; names the split.
    """
    (source, first), (target, second) = lengths.items()
    for split in SPLITS:
        if first[split] != second[split]:
            raise UserError(
                f"{bpe_dir}/{split}: {first[split]} lines in .{source} but {second[split]} in .{target}; "
                "segment both sides of the same corpus"
            )


def check_replaceable(output_dir: Path) -> None:
    """Require an existing output folder to contain binarised data only.

    Raises:
        UserError: it contains something else, or is a file.
    """
    if not output_dir.exists():
        return
    if not output_dir.is_dir():
        raise UserError(f"{output_dir}: is a file; name a folder for the binarised data")
    for entry in sorted(output_dir.iterdir()):
        if entry.is_dir() or not any(fnmatch.fnmatch(entry.name, pattern) for pattern in OWN_FILES):
            raise UserError(f"{output_dir}: contains {entry.name}, which is not binarised data; name another folder")


def replace_directory(new: Path, place: Path) -> None:
    """Rename ``new`` to ``place``; an earlier folder is removed after that."""
    if not place.exists():
        new.rename(place)
        return
    # `make clean-stale` finds this suffix after a kill
    old = Path(tempfile.mkdtemp(prefix=f".{place.name}.old.", suffix=".tmp", dir=place.parent))
    place.rename(old)
    try:
        new.rename(place)
    except OSError:
        old.rename(place)
        raise
    shutil.rmtree(old)


def encode_side(
    bpe_dir: Path, output_dir: Path, languages: Languages, language: str, dictionary: Dictionary
) -> dict[str, Encoded]:
    """Binarise one side of all splits."""
    from kd.binarization import encode

    pair = "-".join(languages)
    return {
        split: encode(
            read_lines(bpe_dir / f"{split}.{language}"), dictionary, output_dir / f"{split}.{pair}.{language}"
        )
        for split in SPLITS
    }


def binarize(
    bpe_dir: Path, languages: Languages, output_dir: Path, joined: bool = False, workers: int = 1
) -> dict[str, Any]:
    """Binarise all splits into ``output_dir``, replacing an earlier result.

    Args:
        bpe_dir: folder of the text.
        languages: source and target.
        output_dir: folder of the result.
        joined: one dictionary for both languages.
        workers: two run a process for each side.

    Returns:
        Sizes of the dictionaries; sentences, tokens and unknown tokens of each split and language.

    Raises:
        UserError: see :func:`count_tokens`, :func:`check_lengths` and :func:`check_replaceable`.
    """
    with processes(workers) as each:
        lengths, counts = {}, {}
        for language, (lines, tokens) in zip(languages, each(count_tokens, repeat(bpe_dir), languages), strict=True):
            lengths[language], counts[language] = lines, tokens
    check_lengths(bpe_dir, lengths)
    check_replaceable(output_dir)
    quiet()
    from kd.binarization import build_dictionary  # here, because it takes seconds, and input errors come first

    sentences = {language: lengths[language]["train"] for language in languages}
    if joined:
        together = build_dictionary(sum(counts.values(), Counter()), sum(sentences.values()))
        dictionaries = dict.fromkeys(languages, together)
    else:
        dictionaries = {language: build_dictionary(counts[language], sentences[language]) for language in languages}
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output_dir.name}.", suffix=".tmp", dir=output_dir.parent) as temporary:
        built = Path(temporary) / "bin"
        built.mkdir()
        for language, dictionary in dictionaries.items():
            dictionary.save(str(built / f"dict.{language}.txt"))
        fixed = (repeat(value) for value in (bpe_dir, built, languages))
        with processes(workers) as each:
            sides = dict(zip(languages, each(encode_side, *fixed, languages, dictionaries.values()), strict=True))
        for language, side in sides.items():
            for split, encoded in side.items():
                if encoded.sentences != lengths[language][split]:
                    raise RuntimeError(f"{split}.{language}: {encoded} instead of {lengths[language][split]} lines")
        replace_directory(built, output_dir)
    return {
        "dictionaries": {language: len(dictionary) for language, dictionary in dictionaries.items()},
        "joined": joined,
        "splits": {split: {language: vars(sides[language][split]) for language in languages} for split in SPLITS},
    }


@contextmanager
def processes(workers: int) -> Iterator[Map]:
    """A ``map`` over so many processes; for one worker the built-in ``map``."""
    if workers == 1:
        yield map
        return
    with ProcessPoolExecutor(workers) as pool:
        yield pool.map


def summary(report: dict[str, Any]) -> str:
    """One line: sentences, share of unknown tokens, dictionary sizes."""
    items = [f"dictionary {language} {size} symbols" for language, size in report["dictionaries"].items()]
    for name, sides in report["splits"].items():
        rates = [f"{language} {side['unknown'] / max(side['tokens'], 1):.3%}" for language, side in sides.items()]
        sentences = next(iter(sides.values()))["sentences"]
        items.append(f"{name} {sentences} sentences (unknown: {', '.join(rates)})")
    return "; ".join(items)


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description="Binarise BPE-segmented text for fairseq.")
    parser.add_argument("--bpe-dir", required=True, type=Path, metavar="DIR", help="has {train,valid,test}.{S,T}")
    parser.add_argument("--source-lang", required=True, metavar="CODE")
    parser.add_argument("--target-lang", required=True, metavar="CODE")
    parser.add_argument("--output-dir", required=True, type=Path, metavar="DIR")
    parser.add_argument("--joined-dictionary", action="store_true", help="one dictionary for both languages")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes, at most two (default: 1)")
    parser.add_argument("--report", type=Path, metavar="JSON", help="sizes and unknown tokens")
    args = parser.parse_args()
    languages = (args.source_lang, args.target_lang)
    if languages[0] == languages[1]:
        raise UserError(f"--source-lang and --target-lang are both {languages[0]}; name two languages")
    report = binarize(args.bpe_dir, languages, args.output_dir, args.joined_dictionary, min(max(args.workers, 1), 2))
    if args.report:
        write_json(args.report, report)
    print(f"{args.output_dir}: {summary(report)}", file=sys.stderr)


if __name__ == "__main__":
    run(main)
