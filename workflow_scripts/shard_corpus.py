"""Divide an aligned corpus into shards for parallel jobs: writes byte ranges, see :mod:`ekd_nmt.corpus.shards`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ekd_nmt.common.command import run
from ekd_nmt.common.files import write_json
from ekd_nmt.corpus.shards import make_shards, to_index

REVISION = 1  # of what this command writes: raise it when the same input gives another output


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description="Divide an aligned corpus into shards, without copying it.")
    parser.add_argument("--source", required=True, type=Path, metavar="FILE")
    parser.add_argument("--target", required=True, type=Path, metavar="FILE")
    parser.add_argument("--shards", required=True, type=int, metavar="N", help="number of shards")
    parser.add_argument("--output", required=True, type=Path, metavar="JSON", help="index of the shards")
    args = parser.parse_args()
    write_json(args.output, to_index(make_shards(args.source, args.target, args.shards)))


if __name__ == "__main__":
    run(main)
