"""Command-line options that decide how many tokens a sentence has and which pairs are kept for their lengths."""

from __future__ import annotations

import argparse


def add_token_options(parser: argparse.ArgumentParser) -> None:
    """Add the languages, the option of the tokeniser and the limits of :class:`ekd_nmt.corpus.filters.LengthFilter`."""
    parser.add_argument("--source-lang", required=True, metavar="CODE", help="such as de")
    parser.add_argument("--target-lang", required=True, metavar="CODE", help="such as en")
    parser.add_argument(
        "--split-final-period", action="store_true", help="off an abbreviation too, as tokenizer.perl does"
    )
    parser.add_argument("--min-tokens", type=int, metavar="N", help="drop pairs with a side shorter than this")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="drop pairs with a side longer than this")
    parser.add_argument("--max-ratio", type=float, metavar="X", help="drop pairs whose lengths differ by more")
