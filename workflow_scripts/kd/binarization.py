"""Dictionaries and binarised text in fairseq's formats, byte for byte as fairseq-preprocess writes them, but faster.

fairseq's binariser makes a tensor of each sentence and calls a method for each word. Here a word costs one dictionary
look-up, and memory grows by four bytes a sentence only.
"""

from __future__ import annotations

import struct
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy

from kd.fairseq_api import Dictionary, MMapIndexedDataset, best_fitting_int_dtype, dtype_code

PADDED_TO = 8  # dictionaries are padded to a multiple of this, fairseq's default
BUFFERED = 1 << 16  # ids held before they are written


@dataclass(frozen=True)
class Encoded:
    """Size of one binarised side of a split; ``unknown`` counts tokens that are not in the dictionary."""

    sentences: int
    tokens: int
    unknown: int


def build_dictionary(counts: Counter[str], sentences: int) -> Dictionary:
    """fairseq's dictionary of a training text: symbols by frequency, highest first, ties in alphabetical order.

    Args:
        counts: frequency of each token.
        sentences: number of lines, each of which ends with the end-of-sentence symbol.
    """
    dictionary = Dictionary()
    for symbol, count in sorted((counts + Counter({dictionary.eos_word: sentences})).items()):
        dictionary.add_symbol(symbol, count)
    dictionary.finalize(padding_factor=PADDED_TO)
    return dictionary


def encode(lines: Iterable[str], dictionary: Dictionary, prefix: str | Path) -> Encoded:
    """Write the token ids of all lines to ``{prefix}.bin`` and ``{prefix}.idx``, fairseq's memory-mapped format.

    Args:
        lines: tokens separated by white space.
        dictionary: of the language; tokens that it lacks become the unknown symbol.
        prefix: path of both files without the suffix.
    """
    dtype = numpy.dtype(best_fitting_int_dtype(len(dictionary)))
    look_up, unknown, end = dictionary.indices.get, dictionary.unk(), dictionary.eos()
    sizes, ids = array("i"), array(dtype.char)
    missing = 0
    with open(f"{prefix}.bin", "wb") as data:

        def flush() -> int:
            written = numpy.frombuffer(ids, dtype=dtype)
            data.write(written.data)
            return int(numpy.count_nonzero(written == unknown))

        for line in lines:
            sentence = [look_up(token, unknown) for token in line.split()]
            sentence.append(end)
            ids.extend(sentence)
            sizes.append(len(sentence))
            if len(ids) >= BUFFERED:
                missing += flush()
                ids = array(dtype.char)
        missing += flush()
    lengths = numpy.frombuffer(sizes, dtype=numpy.int32)
    _write_index(f"{prefix}.idx", lengths, dtype)
    return Encoded(len(lengths), int(lengths.sum(dtype=numpy.int64)) - len(lengths), missing)


def _write_index(path: str, lengths: numpy.ndarray, dtype: numpy.dtype) -> None:
    """Write lengths in tokens, end of sentence included, and byte offsets of the sentences.

    fairseq's writer collects the offsets in a list, which takes forty bytes a sentence.
    """
    offsets = numpy.zeros(len(lengths), dtype=numpy.int64)
    numpy.cumsum(lengths[:-1] * dtype.itemsize, dtype=numpy.int64, out=offsets[1:])
    with open(path, "wb") as handle:
        handle.write(MMapIndexedDataset.Index._HDR_MAGIC)
        handle.write(struct.pack("<QBQ", 1, dtype_code(dtype.type), len(lengths)))
        handle.write(lengths.tobytes())
        handle.write(offsets.tobytes())
