"""Cut an aligned corpus into parts for parallel jobs: writes their byte offsets, see :mod:`shards`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ekd_nmt.common.command import run
from ekd_nmt.common.files import write_json
from ekd_nmt.corpus.shards import cut, index

REVISION = 1  # of what this command writes: raise it when the same input gives another output


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description="Cut an aligned corpus into parts, without copying it.")
    parser.add_argument("--source", required=True, type=Path, metavar="FILE")
    parser.add_argument("--target", required=True, type=Path, metavar="FILE")
    parser.add_argument("--parts", required=True, type=int, metavar="N")
    parser.add_argument("--output", required=True, type=Path, metavar="JSON", help="the offsets of the parts")
    args = parser.parse_args()
    write_json(args.output, index(cut(args.source, args.target, args.parts)))


if __name__ == "__main__":
    run(main)
