r"""Hold out validation and test pairs from a parallel corpus without splits, so that no sentence leaks.

Pairs that share a source or a target sentence, directly or through other pairs, form a group, and a group goes into one
split. Sentences are compared by their loose keys (:func:`sentence_key`): ``Hello!`` and ``hello`` are equal.

Groups are ordered by a hash of the seed and their own text. In this order, the test set takes groups until it has
exactly the requested number of pairs; then the validation set takes from the remaining groups.

- A group that is too large for the free places of a set is skipped; the next set may take it, else it is for training.
- A group of more than 1% of a set (more than ``max(1, size // 100)`` pairs) is never taken, so that a test set is not
  forty versions of one sentence. Very common sentences are therefore for training only.
- A pair with an empty side is in no group and stays in training. If its other side is in a group, that group stays in
  training too.

Lines end at ``\n`` alone. Every split keeps the order of the corpus and its duplicates. The corpus is streamed twice:
memory is about 105 bytes a pair (measured with 4 million pairs), for sentences of any length.
"""

from __future__ import annotations

import argparse
import json
import os
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b
from itertools import zip_longest
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import regex
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ekd_nmt.common.command import run
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import atomic_write, read_lines
from ekd_nmt.config.types import SPLITS

REVISION = 1  # of what this command writes: raise it when the same input gives another output

TRAIN = SPLITS.index("train")
KEY_BYTES = 8
EMPTY = b"\0" * KEY_BYTES  # stands for a sentence without text

WORD_CHARACTER = regex.compile(r"(?V1)[[\p{L}\p{N}\p{M}]--\p{DI}]")
LETTER_OR_DIGIT = regex.compile(r"[\p{L}\p{N}]")
INVISIBLE = regex.compile(r"\p{DI}+")  # default-ignorable: zero-width spaces, variation selectors of emoji
ASCII_FOLDED = bytes(range(256)).lower()
ASCII_DROPPED = bytes(code for code in range(128) if not chr(code).isalnum())


class FoldingTable(dict[int, str]):
    """For :meth:`str.translate`: character → its characters in the loose key; filled on demand."""

    def __missing__(self, code: int) -> str:
        compatible = normalize("NFKC", chr(code))
        # a spacing accent becomes a blank and a mark that no letter carries: geht´s is geht's
        kept = "" if compatible[0] == " " else "".join(WORD_CHARACTER.findall(compatible)).casefold()
        self[code] = kept
        return kept


FOLDED = FoldingTable()


def sentence_key(sentence: str) -> bytes:
    """The loose key of a sentence, UTF-8; empty for a sentence without text.

    It is the sentence in Unicode NFKC, case folded, reduced to letters, digits and their marks (categories L, N and M
    without the invisible ones). The key of a sentence without letters and digits is its NFKC text without white space,
    so ``?!`` and ``…`` are two sentences.
    """
    if sentence.isascii():
        return sentence.encode().translate(ASCII_FOLDED, ASCII_DROPPED) or "".join(sentence.split()).encode()
    # canonical forms first, so that the table sees whole characters; NFKC last, because folding takes some apart
    kept = normalize("NFKC", normalize("NFC", sentence).translate(FOLDED))
    if not LETTER_OR_DIGIT.search(kept):
        kept = "".join(INVISIBLE.sub("", normalize("NFKC", sentence)).split())
    return kept.encode()


def digest(key: bytes) -> bytes:
    """Hash a key to 64 bits.

    Two of n keys collide with a probability of about n² / 2^65: one in 400,000 for ten million sentences. A collision
    joins two groups; it never puts a sentence into two splits.
    """
    return blake2b(key, digest_size=KEY_BYTES).digest() if key else EMPTY


def read_keys(source: Path, target: Path) -> np.ndarray:
    """Hash the keys of a corpus: unsigned 64-bit, (pairs, 2), source and target; 0 for a sentence without text.

    Raises:
        UserError: a side is unreadable or not UTF-8, the sides differ in length, or both are empty.
    """
    digests = bytearray()
    counts = [0, 0]
    for lines in zip_longest(read_lines(source), read_lines(target)):
        for side, line in enumerate(lines):
            if line is not None:
                counts[side] += 1
                digests += digest(sentence_key(line))
    if counts[0] != counts[1]:
        raise UserError(
            f"{source} has {counts[0]} lines but {target} has {counts[1]}; "
            "the sides of a parallel corpus must match line by line, so take both from the same release"
        )
    if counts[0] == 0:
        raise UserError(f"{source} and {target} are empty; there is nothing to split")
    return np.frombuffer(digests, dtype="<u8").reshape(-1, 2)


@dataclass(frozen=True)
class Groups:
    """The groups of a corpus.

    Attributes:
        of_pair: (pairs,), the group of each pair; -1 for a pair with an empty side.
        sizes: (groups,), pairs of each group.
        names: (groups,), the smallest source key of each group. Groups share no key, so it names one group only, and
            it does not depend on the order of the corpus.
        bound: (groups,), whether a pair with an empty side forces the group into training.
    """

    of_pair: np.ndarray
    sizes: np.ndarray
    names: np.ndarray
    bound: np.ndarray


def connect(keys: np.ndarray) -> Groups:
    """Find the groups: connected components of the graph whose nodes are sentences and whose edges are pairs."""
    complete = (keys != 0).all(axis=1)
    sources, source_node = np.unique(keys[complete, 0], return_inverse=True)
    targets, target_node = np.unique(keys[complete, 1], return_inverse=True)
    nodes = len(sources) + len(targets)
    ends = (source_node.astype(np.int32), (target_node + len(sources)).astype(np.int32))
    del target_node  # memory peaks inside connected_components
    graph = coo_array((np.ones(len(source_node), dtype=np.float64), ends), shape=(nodes, nodes))
    count, group_of_node = connected_components(graph, directed=False)
    del graph, ends

    of_pair = np.full(len(keys), -1, dtype=np.int32)
    of_pair[complete] = group_of_node[source_node]
    by_source, by_target = np.split(group_of_node, [len(sources)])
    _, first = np.unique(by_source, return_index=True)  # sources ascend, so the first of a group is its smallest
    bound = np.zeros(count, dtype=bool)
    bound[by_source[np.isin(sources, keys[~complete, 0])]] = True
    bound[by_target[np.isin(targets, keys[~complete, 1])]] = True
    return Groups(of_pair, np.bincount(of_pair[complete], minlength=count), sources[first], bound)


def ranking(groups: Groups, seed: int) -> np.ndarray:
    """Groups that may be held out, in the order of a hash of the seed and of the group's name.

    The position of a group depends on its own text only. So pairs that are added to a corpus do not reorder the other
    groups: p% more pairs replace about p% of the held-out ones.
    """
    candidates = np.flatnonzero(~groups.bound)
    names = groups.names[candidates]
    digests = bytearray()
    for name in names:
        digests += digest(f"{seed} {name}".encode())
    return candidates[np.lexsort((names, np.frombuffer(digests, dtype="<u8")))]


def choose(sizes: np.ndarray, order: np.ndarray, wanted: dict[str, int]) -> np.ndarray:
    """Assign every group to a split, as the module's docstring describes.

    Args:
        sizes: (groups,), pairs of each group.
        order: the groups that may be held out, first choice first.
        wanted: pairs of the test and of the validation set.

    Returns:
        (groups,), positions in :data:`SPLITS`.

    Raises:
        UserError: the groups do not fill a set exactly; the message has the number of pairs that they give.
    """
    split_of_group = np.full(len(sizes), TRAIN, dtype=np.int8)
    for split in ("test", "valid"):
        missing, limit = wanted[split], max(1, wanted[split] // 100)
        for group in order[(sizes[order] <= limit) & (split_of_group[order] == TRAIN)]:
            if sizes[group] <= missing:
                split_of_group[group] = SPLITS.index(split)
                missing -= sizes[group]
            if missing == 0:
                break
        if missing:
            raise UserError(
                f"--{split}-size {wanted[split]}: only {wanted[split] - missing} can be held out, from groups of "
                f"at most {limit} pairs that share a sentence; lower data.holdout"
            )
    return split_of_group


def write_splits(sides: dict[str, Path], split_of_pair: np.ndarray, folder: Path, stats: dict[str, Any]) -> None:
    """Write ``folder/{train,valid,test}.{language}`` and ``folder/stats.json``: all of them or none.

    Args:
        sides: source and target language, in this order, each with its file.
        split_of_pair: (pairs,), positions in :data:`SPLITS`.
        folder: where to write.
        stats: what to write into ``stats.json``.

    Raises:
        UserError: a side does not have the same number of lines as when its keys were read.
    """
    with ExitStack() as stack:
        report = stack.enter_context(atomic_write(folder / "stats.json"))  # opened first, so renamed last
        files = [
            [stack.enter_context(atomic_write(folder / f"{split}.{language}")) for language in sides]
            for split in SPLITS
        ]
        try:
            for split, *pair in zip(split_of_pair, *map(read_lines, sides.values()), strict=True):
                for file, sentence in zip(files[split], pair, strict=True):
                    file.write(f"{sentence}\n")
        except ValueError as error:  # of the strict zip
            raise UserError(
                f"{' and '.join(map(str, sides.values()))}: other lines when read for the second time; "
                "name files, not pipes, that nothing writes to meanwhile"
            ) from error
        json.dump(stats, report, indent=2)
        report.write("\n")
        for file in (report, *(file for both in files for file in both)):
            file.flush()  # a full disk shows here, before the first file is renamed
            os.fsync(file.fileno())


def check(sides: dict[str, Path], wanted: dict[str, int], folder: Path) -> None:
    """Refuse sizes below one, and a folder where the corpus would be overwritten, with a :class:`UserError`."""
    for split, size in wanted.items():
        if size < 1:
            raise UserError(f"--{split}-size {size}: must be at least 1")
    outputs = {(folder / f"{split}.{language}").resolve() for split in SPLITS for language in sides}
    for path in sides.values():
        if path.resolve() in outputs:
            raise UserError(f"--output-dir {folder}: {path} would be overwritten; name another folder")


def split_corpus(sides: dict[str, Path], wanted: dict[str, int], seed: int, folder: Path) -> dict[str, Any]:
    """Split a corpus and write it, see :func:`write_splits`.

    Args:
        sides: source and target language, in this order, each with its file.
        wanted: pairs of the ``test`` and of the ``valid`` split.
        seed: another one makes another choice.
        folder: where to write.

    Returns:
        The content of ``stats.json``: line counts of each split, counts of groups, the number of pairs.

    Raises:
        UserError: see the functions above; also if no pair would remain for training.
    """
    check(sides, wanted, folder)
    keys = read_keys(*sides.values())
    usable = int((keys != 0).all(axis=1).sum())
    if sum(wanted.values()) >= usable:
        raise UserError(
            f"--test-size {wanted['test']} and --valid-size {wanted['valid']} leave no training pair: "
            f"{' and '.join(map(str, sides.values()))} have {usable} pairs with text on both sides; lower data.holdout"
        )
    groups = connect(keys)
    del keys
    split_of_group = choose(groups.sizes, ranking(groups, seed), wanted)
    split_of_pair = np.where(groups.of_pair >= 0, split_of_group[groups.of_pair], np.int8(TRAIN))
    lines, taken = (np.bincount(array, minlength=len(SPLITS)).tolist() for array in (split_of_pair, split_of_group))
    line_counts = [
        {"step": "split", "split": split, "lines_in": count, "lines_out": count, "dropped": {}}
        for split, count in zip(SPLITS, lines, strict=True)
    ]
    counts = {"count": len(groups.sizes), "largest": int(groups.sizes.max()), **dict(zip(SPLITS, taken, strict=True))}
    stats = {"accounts": line_counts, "groups": counts, "pairs": len(split_of_pair)}
    write_splits(sides, split_of_pair, folder, stats)
    return stats


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description="Split a parallel corpus into training, validation and test pairs.")
    for side, example in (("source", "de"), ("target", "en")):
        parser.add_argument(f"--{side}", required=True, type=Path, metavar="FILE")
        parser.add_argument(f"--{side}-lang", required=True, metavar="CODE", help=f"such as {example}")
    parser.add_argument("--valid-size", required=True, type=int, metavar="N", help="pairs of the validation set")
    parser.add_argument("--test-size", required=True, type=int, metavar="N", help="pairs of the test set")
    parser.add_argument("--seed", required=True, type=int, metavar="S", help="another seed makes another choice")
    parser.add_argument("--output-dir", required=True, type=Path, metavar="DIR", help="for the splits and stats.json")
    args = parser.parse_args()
    if args.source_lang == args.target_lang:
        raise UserError(f"--source-lang and --target-lang are both {args.source_lang}; name two languages")
    sides = {args.source_lang: args.source, args.target_lang: args.target}
    split_corpus(sides, {"valid": args.valid_size, "test": args.test_size}, args.seed, args.output_dir)


if __name__ == "__main__":
    run(main)
