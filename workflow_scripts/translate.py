"""Translate a binarised split with a trained model; keep each hypothesis beside its source and reference.

The output has one JSON object a line, in corpus order, with the keys of :func:`records`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sacremoses import MosesDetokenizer

from cli import UserError, atomic_write, read_lines, run
from quiet import quiet

if TYPE_CHECKING:
    from kd.translating import Translation


def records(
    sources: Sequence[str], references: Sequence[str], translations: Sequence[Translation], target_lang: str
) -> Iterator[dict[str, Any]]:
    """Yield one result a sentence.

    Keys: ``id`` (line number from 0), ``source`` and ``reference`` (raw lines), ``hypothesis`` (detokenised,
    unescaped), ``hypothesis_tokenized`` (BPE removed), ``score`` (length-normalised log-probability, natural log).
    """
    detokenizer = MosesDetokenizer(lang=target_lang)
    for number, (source, reference, translation) in enumerate(zip(sources, references, translations, strict=True)):
        yield {
            "id": number,
            "source": source,
            "reference": reference,
            "hypothesis": detokenizer.detokenize(translation.text.split(" ")),
            "hypothesis_tokenized": translation.text,
            "score": round(translation.score, 4),
        }


def translate(args: argparse.Namespace) -> None:
    """Translate ``args.split`` and write ``args.output``.

    Raises:
        UserError: an input is missing, its lines do not match the binarised split, or the model does not fit the data.
    """
    sources, references = list(read_lines(args.source)), list(read_lines(args.reference))
    _same_length(args.source, len(sources), args.reference, len(references))

    # takes seconds, so only once the small inputs are known to be good
    import torch

    from kd.memory import keep_freed_memory
    from kd.translating import Beam, Translator

    keep_freed_memory()
    torch.set_num_threads(args.threads)
    translator = Translator(args.model, args.data, args.target_lang, cpu=args.cpu)
    _same_length(args.source, len(sources), f"split {args.split} in {args.data}", len(translator.load(args.split)))
    start = time.perf_counter()
    beam = Beam(args.beam, args.lenpen, args.max_len_a, args.max_len_b)
    translations = translator.translate(args.split, beam, args.max_tokens)
    seconds = time.perf_counter() - start

    with atomic_write(args.output) as output:
        for record in records(sources, references, translations, args.target_lang):
            output.write(json.dumps(record, ensure_ascii=False) + "\n")
    print(
        f"translated {len(sources)} sentences in {seconds:.1f} s, {len(sources) / seconds:.1f} sentences/s",
        file=sys.stderr,
    )


def _same_length(first: object, first_count: int, second: object, second_count: int) -> None:
    if first_count != second_count:
        raise UserError(
            f"{first} has {first_count} lines, {second} has {second_count}; "
            "pass the raw files from which the data was binarised"
        )


def _positive(kind: type) -> Any:
    def parse(text: str) -> Any:
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
        return value

    parse.__name__ = kind.__name__  # argparse names the type in its own messages
    return parse


def parser() -> argparse.ArgumentParser:
    """Build the command-line parser."""
    result = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    result.add_argument("--model", type=Path, required=True, help="checkpoint in fairseq's format")
    result.add_argument("--data", type=Path, required=True, help="binarised data with the model's dictionaries")
    result.add_argument("--split", default="test", help="split to translate (default: %(default)s)")
    result.add_argument("--source", type=Path, required=True, help="raw source of the split, one sentence a line")
    result.add_argument("--reference", type=Path, required=True, help="raw reference translation, aligned to --source")
    result.add_argument("--target-lang", required=True, help="target language, for the detokeniser")
    result.add_argument("--beam", type=_positive(int), default=5, help="beam width (default: %(default)s)")
    result.add_argument(
        "--lenpen", type=float, default=1.0, help="length penalty; above 1 favours longer output (default: %(default)s)"
    )
    result.add_argument(
        "--max-len-a", type=float, default=1.2, help="longest output is A * source length + B (default: %(default)s)"
    )
    result.add_argument("--max-len-b", type=int, default=10, help="the B above (default: %(default)s)")
    result.add_argument(
        "--max-tokens", type=_positive(int), default=4096, help="tokens a batch, padding counted (default: %(default)s)"
    )
    result.add_argument("--threads", type=_positive(int), default=1, help="CPU threads (default: %(default)s)")
    result.add_argument("--cpu", action="store_true", help="do not use a GPU even when there is one")
    result.add_argument("--output", type=Path, required=True, help="file to write, JSON lines")
    return result


def main() -> None:
    """Command line: see :func:`parser`."""
    args = parser().parse_args()
    quiet()
    translate(args)


if __name__ == "__main__":
    run(main)
