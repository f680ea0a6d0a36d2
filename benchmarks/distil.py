"""Speed of a training step: plain, distilled from an online teacher, and from the teacher's cache.

    python benchmarks/distil.py --markdown table.md
    python benchmarks/distil.py --device cuda --precision fp32 bf16 fp16 --max-tokens 4096 16384

Models and corpus have the sizes of IWSLT'14 de-en. Text and weights are random, which affects the speed of beam search
only. All variants use the workflow's trainer and criterion on the same batches in the same order. A round runs each
variant once, and ratios are between variants of the same round.

Parts: ``steps`` (the variants), ``caching`` (writing the caches), ``memory`` (freed memory kept or returned),
``start-up`` (the imports), ``validation`` (beam 5 and beam 1); ``memory`` and ``validation`` on the CPU only.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from material import SCRIPTS, Material, Sizes, options
from steps import Setting, measure, measure_validation, variants
from tables import caching_table, describe_machine, describe_sizes, rows, spread, steps_tables

from cache_teacher import stored
from ekd_nmt.common.command import positive_number, run
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import atomic_write
from ekd_nmt.common.logs import say

PRECISIONS = ("fp32", "bf16", "fp16")
PARTS = ("steps", "caching", "memory", "start-up", "validation")
CPU_ONLY = ("memory", "validation")
REPEATS = 3  # of the start-up
PAIRS = 2  # of processes, with memory kept and returned
START = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from ekd_nmt.common.log_filters import quiet; quiet(); import kd.setup"
)


def main() -> None:
    """Command line: see the module's docstring."""
    args = parse_arguments()
    check(args)
    sizes = Sizes(
        sentences=args.sentences,
        source_symbols=args.source_symbols,
        target_symbols=args.target_symbols,
        embed_dim=args.embed_dim,
        teachers=tuple(sorted(set(args.teachers))),
        ffn_dim=args.ffn_dim,
        heads=args.heads,
        layers=args.layers,
    )
    for dim in sizes.teachers:  # an invalid size is an error before any work
        options(sizes, f"teacher{dim}", k=args.top_k)
    machine = describe_machine()
    with tempfile.TemporaryDirectory() as temporary:
        material = Material(args.folder or Path(temporary), sizes)
        sections = measure_parts(material, args)
    text = "\n\n".join([machine, describe_sizes(sizes), *sections]) + "\n"
    print(text)
    if args.markdown:
        with atomic_write(args.markdown) as handle:
            handle.write(text)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)

    def number(flag: str, default: int, text: str, **more: Any) -> None:
        parse = positive_number(flag, int, "a number")
        parser.add_argument(
            flag, type=parse, default=default, metavar="N", help=f"{text} (default: %(default)s)", **more
        )

    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--parts", nargs="+", choices=PARTS, help="default: all of the device")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=["fp32"])
    number("--max-tokens", [4096], "tokens of a batch, padding included", nargs="+")
    number("--threads", 1, "threads of torch")
    number("--rounds", 5, "timed rounds")
    number("--warm-up", 1, "rounds before, not timed")
    number("--batches", 2, "batches of a round")
    parser.add_argument(
        "--top-k", type=stored, default=32, metavar="N", help="tokens a cache stores of a position, or full"
    )
    number("--sentences", 1000, "sentences of the training set")
    number("--source-symbols", 8848, "size of the source dictionary")
    number("--target-symbols", 6632, "size of the target dictionary")
    number("--embed-dim", 128, "embedding dimension of the student")
    number("--teachers", [256, 512], "embedding dimensions of the teachers", nargs="+")
    number("--ffn-dim", 1024, "inner width of all models")
    number("--heads", 4, "attention heads of all models")
    number("--layers", 6, "encoder layers, and decoder layers, of all models")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="keep corpus, teachers and caches here for reuse")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the tables here")
    return parser.parse_args(arguments)


def check(args: argparse.Namespace) -> None:
    """Check the arguments, and set the parts to all of the device if none is given.

    Raises:
        UserError: something cannot be measured on the device.
    """
    cuda = args.device == "cuda"
    args.parts = args.parts or [part for part in PARTS if not (cuda and part in CPU_ONLY)]
    if not cuda and set(args.precision) != {"fp32"}:
        raise UserError("--precision: half precision is for GPUs; add --device cuda, or leave it at fp32")
    for part in CPU_ONLY:
        if cuda and part in args.parts:
            raise UserError(f"--parts {part}: is measured on the CPU only; leave out --device cuda")
    for flag in ("source_symbols", "target_symbols"):
        if getattr(args, flag) % 8 or getattr(args, flag) < 16:
            raise UserError(f"--{flag.replace('_', '-')} {getattr(args, flag)}: needs a multiple of 8 from 16 on")
    if args.folder and args.folder.exists() and not args.folder.is_dir():
        raise UserError(f"--folder {args.folder}: is a file; name a folder")
    if cuda:
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # fairseq would train on all of them
        import torch

        if not torch.cuda.is_available():
            raise UserError("--device cuda: torch finds no GPU; leave it out to measure the CPU")


def measure_parts(material: Material, args: argparse.Namespace) -> list[str]:
    """Make the data, then measure; returns a section of Markdown for each part."""
    base = Setting(
        args.device, "fp32", args.max_tokens[0], args.top_k, args.threads, args.batches, args.rounds, args.warm_up
    )
    parts = set(args.parts)
    sections = []
    if parts != {"start-up"} and not material.there:
        in_new_process(material.make)
    if parts & {"steps", "caching"}:
        caches = {dim: make_cache(material, dim, args) for dim in material.sizes.teachers}
        if "caching" in parts:
            sections.append(caching_table(caches))
    if "steps" in parts:
        names = variants(material.sizes.teachers)
        for max_tokens in args.max_tokens:
            for precision in args.precision:
                setting = replace(base, precision=precision, max_tokens=max_tokens)
                say(f"steps: {precision}, max-tokens {max_tokens}")
                sections.append(steps_tables(setting, in_new_process(measure, material, names, setting)))
    if "memory" in parts:
        sections.append(memory_table(material, base))
    if "start-up" in parts:
        sections.append(start_up_line())
    if "validation" in parts:
        sections.append(validation_line(material, base))
    return sections


def in_new_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a separate process, so that its settings and memory affect no other measurement."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def make_cache(material: Material, dim: int, args: argparse.Namespace) -> dict[str, Any]:
    """Write a teacher's cache; returns its summary."""
    say(f"cache of the teacher of {dim}")
    return material.make_cache(dim, args.top_k, threads=args.threads, cpu=args.device == "cpu")


def memory_table(material: Material, base: Setting) -> str:
    """Plain training with freed memory kept or returned, in alternating processes."""
    speeds: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(PAIRS):
        for keep in (False, True):
            say(f"freed memory {'kept' if keep else 'returned'}")
            setting = replace(base, rounds=2, keep_freed_memory=keep)
            timing = in_new_process(measure, material, ["plain"], setting)
            speeds[keep].append(timing.tokens / statistics.median(timing.seconds["plain"]))
    pairs = zip(speeds[True], speeds[False], strict=True)
    body = [[f"{kept:,.0f}", f"{returned:,.0f}", f"{kept / returned:.2f}"] for kept, returned in pairs]
    title = (
        "**Freed memory** kept in the process (`kd/malloc.py`) or returned to the kernel; plain, target tokens/s, "
        "one row for each pair of processes:"
    )
    return f"{title}\n\n{rows(['kept', 'returned', 'ratio'], body)}"


def start_up_line() -> str:
    """Seconds for a new process to import what training needs."""
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", START, str(SCRIPTS)], check=True)
        seconds.append(time.perf_counter() - started)
    median, least, most = spread(seconds)
    return (
        f"**Start-up**: a process that imports fairseq and `kd` takes {median} s ({least} to {most}, {REPEATS} runs)."
    )


def validation_line(material: Material, base: Setting) -> str:
    """One validation with beam 5 and one with beam 1."""
    seconds = {}
    for beam in (5, 1):
        say(f"validation, beam {beam}")
        seconds[beam] = in_new_process(measure_validation, material, beam, base)
    return (
        f"**Validation** with BLEU: {seconds[5]:.1f} s with beam 5, {seconds[1]:.1f} s with beam 1, "
        f"{seconds[5] / seconds[1]:.2f} times faster, measured once. An untrained model's hypotheses have the "
        "maximum length, 1.2 times the source and 10 tokens; those of a trained model are shorter."
    )


if __name__ == "__main__":
    run(main)
