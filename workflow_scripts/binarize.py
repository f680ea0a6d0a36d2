"""Build fairseq dictionaries and binarised data from BPE-segmented text, with fairseq-preprocess in this process.

Reads ``{bpe-dir}/{train,valid,test}.{source,target}``; the dictionaries come from the training text. The output folder
appears whole or not at all: it is built beside its place and renamed. It holds no log and no path, so equal input gives
equal bytes, whatever the number of workers.
"""

from __future__ import annotations

import argparse
import fnmatch
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cli import SPLITS, UserError, read_lines, run
from quiet import quiet

OWN_FILES = ("dict.*.txt", "*.bin", "*.idx", ".snakemake_timestamp")
SMALLEST_SHARE = 1000  # lines; fairseq's chunking needs more lines than workers, and a process costs more than this


@dataclass(frozen=True)
class Split:
    """What one binarised side of a split holds. ``unknown`` counts tokens that the dictionary lacks."""

    name: str
    language: str
    sentences: int
    tokens: int
    unknown: int


def check_input(bpe_dir: Path, languages: tuple[str, str]) -> dict[str, int]:
    r"""Return the number of lines of each split.

    fairseq also ends a line at a lone ``\r``, so a file with one is refused: its alignment would shift.

    Raises:
        UserError: a file is missing, empty, not UTF-8 or holds a carriage return, or two sides differ in length.
    """
    counts: dict[str, int] = {}
    for split in SPLITS:
        lengths = []
        for language in languages:
            path = bpe_dir / f"{split}.{language}"
            lines = 0
            for lines, line in enumerate(read_lines(path), start=1):
                if "\r" in line:
                    raise UserError(f"{path}, line {lines}: holds a carriage return; make the text with prepare.py")
            if lines == 0:
                raise UserError(f"{path}: is empty; each of {', '.join(SPLITS)} needs at least one line")
            lengths.append(lines)
        if lengths[0] != lengths[1]:
            raise UserError(
                f"{bpe_dir}/{split}: {lengths[0]} lines in .{languages[0]} but {lengths[1]} in .{languages[1]}; "
                "segment both sides of the same corpus"
            )
        counts[split] = lengths[0]
    return counts


def check_replaceable(output_dir: Path) -> None:
    """Refuse to replace a folder that holds anything but binarised data.

    Raises:
        UserError: such a file or folder is there, or the output is a file.
    """
    if not output_dir.exists():
        return
    if not output_dir.is_dir():
        raise UserError(f"{output_dir}: is a file; name a folder for the binarised data")
    for entry in sorted(output_dir.iterdir()):
        if entry.is_dir() or not any(fnmatch.fnmatch(entry.name, pattern) for pattern in OWN_FILES):
            raise UserError(f"{output_dir}: holds {entry.name}, which is not binarised data; name another folder")


def replace_directory(new: Path, place: Path) -> None:
    """Rename ``new`` to ``place``; what was there is removed only once ``new`` is in its stead."""
    if not place.exists():
        new.rename(place)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{place.name}.", suffix=".old", dir=place.parent))
    place.rename(old)
    try:
        new.rename(place)
    except OSError:
        old.rename(place)
        raise
    shutil.rmtree(old)


def preprocess(bpe_dir: Path, languages: tuple[str, str], output_dir: Path, joined: bool, workers: int) -> None:
    """Run fairseq-preprocess; its log is dropped, its warnings and errors go to standard error."""
    quiet()
    from fairseq import options  # imported here: takes seconds, and bad input should not have to wait for it
    from fairseq_cli import preprocess as fairseq_preprocess

    arguments = ["--source-lang", languages[0], "--target-lang", languages[1], "--destdir", str(output_dir)]
    for split in SPLITS:
        arguments += [f"--{split}pref", str(bpe_dir / split)]
    arguments += ["--workers", str(workers)] + (["--joined-dictionary"] if joined else [])
    fairseq_preprocess.main(options.get_preprocessing_parser().parse_args(arguments))
    for handler in list(fairseq_preprocess.logger.handlers):  # the log file it opened in the output folder
        fairseq_preprocess.logger.removeHandler(handler)
        handler.close()
    (output_dir / "preprocess.log").unlink()


def describe(output_dir: Path, languages: tuple[str, str]) -> tuple[dict[str, int], list[Split]]:
    """Return the size of each dictionary and what each binarised file holds, read back from the files themselves."""
    import numpy
    from fairseq.data import Dictionary, indexed_dataset

    sizes, splits = {}, []
    for language in languages:
        dictionary = Dictionary.load(str(output_dir / f"dict.{language}.txt"))
        sizes[language] = len(dictionary)
        for name in SPLITS:
            prefix = str(output_dir / f"{name}.{'-'.join(languages)}.{language}")
            # Held in a variable: its arrays are views of a memory map that it closes when it is collected.
            dataset = indexed_dataset.make_dataset(prefix, impl="mmap")
            sentences, tokens = len(dataset), int(dataset.sizes.sum()) - len(dataset)  # sizes count the end marks
            dtype = indexed_dataset.best_fitting_int_dtype(len(dictionary))
            ids = numpy.memmap(indexed_dataset.data_file_path(prefix), dtype=dtype, mode="r")
            unknown = int(numpy.count_nonzero(ids == dictionary.unk()))
            splits.append(Split(name, language, sentences, tokens, unknown))
    return sizes, splits


def summary(sizes: dict[str, int], splits: list[Split]) -> str:
    """One line: sentences, unknown tokens as a share of all, dictionary sizes."""
    parts = [f"dictionary {language} {size} symbols" for language, size in sizes.items()]
    for name in SPLITS:
        sides = [split for split in splits if split.name == name]
        rates = ", ".join(f"{side.language} {side.unknown / max(side.tokens, 1):.3%}" for side in sides)
        parts.append(f"{name} {sides[0].sentences} sentences (unknown: {rates})")
    return "; ".join(parts)


def binarize(
    bpe_dir: Path, languages: tuple[str, str], output_dir: Path, joined: bool = False, workers: int = 1
) -> str:
    """Binarise all splits into ``output_dir``, replacing an earlier result, and return a one-line summary.

    Raises:
        UserError: see :func:`check_input` and :func:`check_replaceable`.
    """
    expected = check_input(bpe_dir, languages)
    check_replaceable(output_dir)
    workers = max(1, min(workers, min(expected.values()) // SMALLEST_SHARE))
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output_dir.name}.", suffix=".tmp", dir=output_dir.parent) as temporary:
        built = Path(temporary) / "bin"
        preprocess(bpe_dir, languages, built, joined, workers)
        sizes, splits = describe(built, languages)
        for split in splits:
            if split.sentences != expected[split.name]:
                raise RuntimeError(f"{split}: fairseq binarised another number of lines than {expected[split.name]}")
        replace_directory(built, output_dir)
    return summary(sizes, splits)


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description="Binarise BPE-segmented text for fairseq.")
    parser.add_argument("--bpe-dir", required=True, type=Path, metavar="DIR", help="holds {train,valid,test}.{S,T}")
    parser.add_argument("--source-lang", required=True, metavar="CODE")
    parser.add_argument("--target-lang", required=True, metavar="CODE")
    parser.add_argument("--output-dir", required=True, type=Path, metavar="DIR")
    parser.add_argument("--joined-dictionary", action="store_true", help="one dictionary for both languages")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default: 1)")
    args = parser.parse_args()
    languages = (args.source_lang, args.target_lang)
    if languages[0] == languages[1]:
        raise UserError(f"--source-lang and --target-lang are both {languages[0]}; name two languages")
    line = binarize(args.bpe_dir, languages, args.output_dir, args.joined_dictionary, args.workers)
    print(f"{args.output_dir}: {line}", file=sys.stderr)


if __name__ == "__main__":
    run(main)
