r"""Unpack the two sides of a parallel corpus and check that they belong together.

Either side may be plain text or gzip. Both must be UTF-8, hold text, and have the same number of lines. Lines end at
``\n`` alone; a ``\r`` before it (a file from Windows) and a byte-order mark at the start are taken off, nothing else is
changed.
"""

from __future__ import annotations

import argparse
import gzip
import zlib
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from cli import UserError, atomic_write, run

GZIP_MAGIC = b"\x1f\x8b"
BYTE_ORDER_MARK = "\ufeff"


def open_text(path: str | Path) -> Iterator[str]:
    r"""Yield the lines of a plain or gzip UTF-8 file without their line ends.

    Gzip is recognised by its first bytes, so a wrongly named file is read as what it is.

    Raises:
        UserError: the file cannot be read, is a damaged archive, or a line is not UTF-8 (the line is named).
    """
    number = 0
    try:
        with open(path, "rb") as plain:
            packed = plain.read(2) == GZIP_MAGIC
            plain.seek(0)
            for number, line in enumerate(gzip.GzipFile(fileobj=plain) if packed else plain, start=1):
                text = line.decode("utf-8").removesuffix("\n").removesuffix("\r")
                yield text.removeprefix(BYTE_ORDER_MARK) if number == 1 else text
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}, line {number}: not UTF-8 (byte {error.start + 1}); "
            "convert the file, for example with iconv -f latin1 -t utf-8"
        ) from error
    except EOFError as error:
        raise UserError(f"{path}: the gzip file is truncated after line {number}; fetch it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: damaged gzip file after line {number} ({error}); fetch it again") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error


def pair(source: str | Path, target: str | Path, output_source: str | Path, output_target: str | Path) -> int:
    """Write both sides as plain text and return the number of sentence pairs; write nothing when a check fails.

    Raises:
        UserError: a side is unreadable, not UTF-8 or without text, or the sides differ in length.
    """
    counts = [0, 0]
    has_text = [False, False]
    with atomic_write(output_source) as source_out, atomic_write(output_target) as target_out:
        outputs = (source_out, target_out)
        for lines in zip_longest(open_text(source), open_text(target)):
            for side, line in enumerate(lines):
                if line is not None:
                    counts[side] += 1
                    has_text[side] = has_text[side] or (not line.isspace() and line != "")
                    outputs[side].write(f"{line}\n")
        for path, filled in zip((source, target), has_text, strict=True):
            if not filled:
                raise UserError(f"{path}: holds no text; fetch it again or name another file")
        if counts[0] != counts[1]:
            raise UserError(
                f"{source} has {counts[0]} lines but {target} has {counts[1]}; "
                "the sides of a parallel corpus must match line by line, so take both from the same release"
            )
    return counts[0]


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description="Unpack two sides of a parallel corpus and check their pairing.")
    parser.add_argument("--source", required=True, metavar="FILE", help="source side, plain or gzip")
    parser.add_argument("--target", required=True, metavar="FILE", help="target side, plain or gzip")
    parser.add_argument("--output-source", required=True, metavar="FILE")
    parser.add_argument("--output-target", required=True, metavar="FILE")
    args = parser.parse_args()
    pair(args.source, args.target, args.output_source, args.output_target)


if __name__ == "__main__":
    run(main)
