"""Translate a binarised split with a trained model; keep each hypothesis beside its source and reference.

The output has one JSON object a line, in corpus order, with the keys of :func:`records`. Unfinished work lies in
``progress/{key}`` beside it, which is no output of the workflow: the key is a hash of the settings and of all input
files, so a rerun of the same job goes on where it was. It consists of chunks of whole batches; what a batch gives does
not depend on what was translated before, so the output is the same to the byte wherever the work was interrupted.
"""

from __future__ import annotations

import argparse
import glob
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sacremoses import MosesDetokenizer

from ekd_nmt.common.command import positive_number, run
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import atomic_write, read_lines, sha256
from ekd_nmt.common.log_filters import quiet
from ekd_nmt.common.logs import say
from ekd_nmt.common.signals import exit_on_signal, handle_stop_signals, ignore_stop_signals, stopping_between_batches
from ekd_nmt.resume import translation_chunks
from ekd_nmt.resume.lease import Claim, claimed, clear
from ekd_nmt.resume.work_folder import write_job

if TYPE_CHECKING:
    from kd.beam_search import Translation

REVISION = 1  # of what this command writes: raise it when the same input gives another output

# that decide the output, besides the device
OPTIONS = ("split", "target_lang", "beam", "lenpen", "max_len_a", "max_len_b", "max_tokens")


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
        UserError: an input is missing, its lines do not match the binarised split, the model does not fit the data, a
            sentence does not fit into memory, or another process does this same work.
    """
    sources, references = list(read_lines(args.source)), list(read_lines(args.reference))
    _same_length(args.source, len(sources), args.reference, len(references))

    # takes seconds, so only once the small inputs are known to be good
    import torch

    from kd.beam_search import Beam, Search, Translator
    from kd.malloc import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(args.threads)
    translator = Translator(args.model, args.data, args.target_lang, cpu=args.cpu)
    dataset = translator.load(args.split)
    _same_length(args.source, len(sources), f"split {args.split} in {args.data}", len(dataset))
    options = {name: getattr(args, name) for name in OPTIONS} | {"cuda": translator.cuda}
    inputs = {path: sha256(path) for path in input_files(args)}
    progress = args.output.parent / "progress" / progress_key(options, list(inputs.values()))
    existed = args.output.exists()  # if not, and it does then, it is of the process that had this very folder
    with claimed(progress, "translation") as claim:
        if not existed and is_complete(args.output, sources, references):
            ignore_stop_signals()
            say(f"{args.output}: another process has made it while this one waited, so it is taken as it is")
            clear(progress)
            return
        write_job(progress, work="translation", options=options, seed=None, inputs=inputs)
        store = translation_chunks.Chunks(
            progress, claim, translation_chunks.plan(translator.batches(args.split, args.max_tokens))
        )
        with stopping_between_batches() as before_batch:
            beam = Beam(args.beam, args.lenpen, args.max_len_a, args.max_len_b)
            search = Search(translator, args.split, beam, before_batch, say)
            translations, account = translation_chunks.translate_chunks(search, store, dataset.src_sizes)
        publish(records(sources, references, translations, args.target_lang), progress, args.output, claim)
    print(account, file=sys.stderr)


def is_complete(output: Path, sources: Sequence[str], references: Sequence[str]) -> bool:
    """Whether a file has one result for each sentence, of these sources and references, in their order."""
    try:
        with open(output, encoding="utf-8", newline="\n") as handle:
            rows = [json.loads(line) for line in handle]
        return [(row["source"], row["reference"]) for row in rows] == list(zip(sources, references, strict=True))
    except (OSError, ValueError, LookupError, TypeError):
        return False


def publish(results: Iterator[dict[str, Any]], progress: Path, output: Path, claim: Claim) -> None:
    """Write the output, put it in place, and remove what was kept of the work.

    Raises:
        UserError: another process has taken over.
    """
    for leftover in progress.glob(".*.tmp"):
        leftover.unlink()  # of a write that was killed
    whole = progress / "output.jsonl"
    with atomic_write(whole) as handle:
        for record in results:
            handle.write(json.dumps(record, ensure_ascii=False) + "\n")
    claim.check()
    ignore_stop_signals()
    os.replace(whole, output)
    clear(progress)


def input_files(args: argparse.Namespace) -> list[Path]:
    """The files that decide the output: model, dictionaries, binarised split, raw source and reference."""
    parts = (sorted(args.data.glob(pattern)) for pattern in ("dict.*", f"{glob.escape(args.split)}.*"))
    return [args.model, *(path for part in parts for path in part), args.source, args.reference]


def progress_key(options: dict[str, Any], digests: list[str]) -> str:
    """A hash of all that decides what the chunks hold.

    Args:
        options: of the command line.
        digests: SHA-256 of each of :func:`input_files`, in their order.
    """
    decisive = options | {"format": translation_chunks.FORMAT, "chunk_sentences": translation_chunks.SENTENCES}
    return hashlib.sha256("\n".join([json.dumps(decisive, sort_keys=True), *digests]).encode()).hexdigest()[:16]


def _same_length(first: object, first_count: int, second: object, second_count: int) -> None:
    if first_count != second_count:
        raise UserError(
            f"{first} has {first_count} lines, {second} has {second_count}; "
            "pass the raw files from which the data was binarised"
        )


def parser() -> argparse.ArgumentParser:
    """Build the command-line parser."""
    result = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    result.add_argument("--model", type=Path, required=True, help="checkpoint in fairseq's format")
    result.add_argument("--data", type=Path, required=True, help="binarised data with the model's dictionaries")
    result.add_argument("--split", default="test", help="split to translate (default: %(default)s)")
    result.add_argument("--source", type=Path, required=True, help="raw source of the split, one sentence a line")
    result.add_argument("--reference", type=Path, required=True, help="raw reference translation, aligned to --source")
    result.add_argument("--target-lang", required=True, help="target language, for the detokeniser")
    result.add_argument(
        "--beam", type=positive_number("--beam", int, "a number"), default=5, help="beam width (default: %(default)s)"
    )
    result.add_argument(
        "--lenpen", type=float, default=1.0, help="length penalty; above 1 favours longer output (default: %(default)s)"
    )
    result.add_argument(
        "--max-len-a", type=float, default=1.2, help="longest output is A * source length + B (default: %(default)s)"
    )
    result.add_argument("--max-len-b", type=int, default=10, help="the B above (default: %(default)s)")
    result.add_argument(
        "--max-tokens",
        type=positive_number("--max-tokens", int, "a number of tokens"),
        default=4096,
        help="tokens a batch, padding counted (default: %(default)s)",
    )
    result.add_argument(
        "--threads",
        type=positive_number("--threads", int, "a number"),
        default=1,
        help="CPU threads (default: %(default)s)",
    )
    result.add_argument("--cpu", action="store_true", help="do not use a GPU even when there is one")
    result.add_argument("--output", type=Path, required=True, help="file to write, JSON lines")
    return result


def main() -> None:
    """Command line: see :func:`parser`."""
    args = parser().parse_args()
    handle_stop_signals(exit_on_signal)  # while no batch is under way, nothing is lost by leaving at once
    quiet()
    translate(args)


if __name__ == "__main__":
    run(main)
