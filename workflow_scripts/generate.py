#!/usr/bin/env python3
"""Generate the synthetic German-English-like corpus of the default experiment (docs/demo-corpus.md).

Writes ``{train,valid,test}.{source,target}`` and ``stats.json`` to the output folder: one sentence a line, raw text,
no sentence of either language twice. The same options give the same bytes on every supported Python.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from ekd_nmt.common.command import run
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import write_json, write_lines
from synthetic.corpus import SPLITS, generate, statistics

REVISION = 1  # of what this command writes: raise it when the same input gives another output

ZIPF_RANGE = (0.0, 3.0)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line.

    Raises:
        UserError: an option has a value that cannot work.
    """
    description = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="of the generator")
    parser.add_argument("--train-size", type=int, default=12_000, metavar="N", help="sentences")
    parser.add_argument("--valid-size", type=int, default=500, metavar="N", help="sentences")
    parser.add_argument("--test-size", type=int, default=1_000, metavar="N", help="sentences")
    parser.add_argument("--lexicon", type=int, default=2_000, metavar="N", help="lemmas")
    parser.add_argument("--zipf", type=float, default=1.0, metavar="X", help="exponent of Zipf's law")
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--source-lang", default="de", help="file suffix of the German-like side")
    parser.add_argument("--target-lang", default="en", help="file suffix of the English-like side")
    options = parser.parse_args(arguments)
    check(options)
    return options


def check(options: argparse.Namespace) -> None:
    """Refuse options that cannot give a corpus.

    Raises:
        UserError: names the option, its value and what would work.
    """
    for split in SPLITS:
        size = getattr(options, f"{split}_size")
        if size < 1:
            raise UserError(f"--{split}-size {size}: every split needs at least 1 sentence")
    low, high = ZIPF_RANGE
    if not low <= options.zipf <= high:  # also false for nan
        raise UserError(f"--zipf {options.zipf}: choose an exponent between {low:g} and {high:g}")
    for name in ("source_lang", "target_lang"):
        code = getattr(options, name)
        if not re.fullmatch("[A-Za-z][A-Za-z0-9_-]*", code):
            raise UserError(f"--{name.replace('_', '-')} {code!r}: use a language code such as de or en")
    if options.source_lang == options.target_lang:
        raise UserError(f"--target-lang {options.target_lang}: is also the source language; use two different codes")
    if options.source_lang == "en" or options.target_lang == "de":
        # in the other direction, several sentences would have the same source with different translations
        raise UserError(
            "--source-lang, --target-lang: the corpus translates from German-like to English-like; swap them"
        )


def main() -> None:
    """Generate everything, then write it."""
    options = parse_arguments()
    sizes: dict[str, int] = {split: getattr(options, f"{split}_size") for split in SPLITS}
    corpus = generate(sizes, options.seed, options.lexicon, options.zipf)
    for split, pairs in corpus.items():
        prefix = options.output_dir / split
        write_lines(f"{prefix}.{options.source_lang}", (pair.source for pair in pairs))
        write_lines(f"{prefix}.{options.target_lang}", (pair.target for pair in pairs))
    line_counts = [
        {"step": "generate", "split": split, "lines_in": size, "lines_out": size, "dropped": {}}
        for split, size in sizes.items()
    ]
    measured = {
        "accounts": line_counts,
        "seed": options.seed,
        "lexicon": options.lexicon,
        "zipf": options.zipf,
        **statistics(corpus),
    }
    write_json(options.output_dir / "stats.json", measured)
    print(summary(measured), file=sys.stderr)


def summary(measured: dict) -> str:
    """One line for the log."""
    sentences = " + ".join(f"{count} {split}" for split, count in measured["sentences"].items())
    words, types = measured["mean_words"], measured["word_types"]
    return (
        f"generated {sentences} sentences; {words['source']} and {words['target']} words a sentence, "
        f"{types['source']} and {types['target']} word types, {measured['lemmas_used']} of {measured['lexicon']} "
        f"lemmas, Zipf slope {measured['zipf_slope']} (requested: -{measured['zipf']:g})"
    )


if __name__ == "__main__":
    run(main)
