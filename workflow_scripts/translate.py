"""Translate a binarised split with a trained model; keep each hypothesis beside its source and reference.

The output has one JSON object a line, in corpus order, with the keys of :func:`records`. Finished chunks of whole
batches are kept in ``progress/{key}`` beside it, which is no output of the workflow: the same job resumes at the next
chunk. A batch does not depend on those before it, so interruptions do not change a byte of the output.
"""

from __future__ import annotations

import argparse
import glob
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sacremoses import MosesDetokenizer

from ekd_nmt.common.command import positive_number, run
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import atomic_write, read_lines
from ekd_nmt.common.log_filters import quiet
from ekd_nmt.common.logs import say
from ekd_nmt.common.signals import exit_on_signal, handle_stop_signals, stopping_between_batches
from ekd_nmt.resume.work_folder import Job, WorkFolder

if TYPE_CHECKING:
    from kd.beam_search import Translation

REVISION = 1  # of what this command writes: raise it when the same input gives another output

# those that decide the output, besides the device
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
            sentence does not fit into memory, or another process does the same work.
    """
    sources, references = list(read_lines(args.source)), list(read_lines(args.reference))
    _same_length(args.source, len(sources), args.reference, len(references))

    # takes seconds, so only once the small inputs have been checked
    import torch

    from kd import translation_chunks
    from kd.beam_search import Beam, Search, Translator
    from kd.malloc import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(args.threads)
    translator = Translator(args.model, args.data, args.target_lang, cpu=args.cpu)
    dataset = translator.load(args.split)
    _same_length(args.source, len(sources), f"split {args.split} in {args.data}", len(dataset))
    options = {name: getattr(args, name) for name in OPTIONS}
    options |= {"cuda": translator.cuda, "chunk_sentences": translation_chunks.SENTENCES}
    job = Job.of("translate", REVISION, options, input_files(args))
    existed = args.output.exists()
    with WorkFolder.open(args.output.parent, job) as work:
        if not existed and work.already_made(args.output, lambda: is_complete(args.output, sources, references)):
            return
        plan = translation_chunks.plan(translator.batches(args.split, args.max_tokens))
        chunks = translation_chunks.Chunks(work, plan)
        with stopping_between_batches() as before_batch:
            beam = Beam(args.beam, args.lenpen, args.max_len_a, args.max_len_b)
            search = Search(translator, args.split, beam, before_batch, say)
            translations, summary = translation_chunks.translate_chunks(search, chunks, dataset.src_sizes)
        with atomic_write(work.path / "output.jsonl") as handle:
            for record in records(sources, references, translations, args.target_lang):
                handle.write(json.dumps(record, ensure_ascii=False) + "\n")
        work.publish(work.path / "output.jsonl", args.output)
        work.clear()
    print(summary, file=sys.stderr)


def is_complete(output: Path, sources: Sequence[str], references: Sequence[str]) -> bool:
    """Whether a file has one result for each sentence, of these sources and references, in their order."""
    try:
        with open(output, encoding="utf-8", newline="\n") as handle:
            rows = [json.loads(line) for line in handle]
        return [(row["source"], row["reference"]) for row in rows] == list(zip(sources, references, strict=True))
    except (OSError, ValueError, LookupError, TypeError):
        return False


def input_files(args: argparse.Namespace) -> list[Path]:
    """The files that decide the output: model, dictionaries, binarised split, raw source and reference."""
    patterns = ("dict.*", f"{glob.escape(args.split)}.*")
    binarised = [path for pattern in patterns for path in sorted(args.data.glob(pattern))]
    return [args.model, *binarised, args.source, args.reference]


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
    handle_stop_signals(exit_on_signal)  # nothing is lost while no batch is under way
    quiet()
    translate(args)


if __name__ == "__main__":
    run(main)
