#!/usr/bin/env python3
"""Compute a teacher's next-token distributions once, for all trainings that learn from it.

Unfinished work lies in ``progress/{key}`` beside the cache, which is no output of the workflow: the key is a hash of
the settings and of all input files, so a rerun of the same job goes on where it was.
"""

from __future__ import annotations

import argparse
import fnmatch
from pathlib import Path
from typing import Any, Literal

from ekd_nmt.common.command import json_argument, positive_number, run
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import sha256, write_json
from ekd_nmt.common.log_filters import quiet
from ekd_nmt.common.logs import say
from ekd_nmt.common.signals import (
    exit_on_signal,
    exit_unfinished,
    handle_stop_signals,
    ignore_stop_signals,
    stopping_between_batches,
)
from ekd_nmt.resume import out_of_memory
from ekd_nmt.resume.lease import claimed, clear
from ekd_nmt.resume.work_folder import write_job
from train import input_files

REVISION = 1  # of what this command writes: raise it when the same input gives another output

OWN_FILES = ("meta.json", "*.npy", ".snakemake_timestamp")  # of a cache


def stored(text: str) -> int | Literal["full"]:
    """Tokens stored of each distribution.

    Raises:
        UserError: neither ``full`` nor a number above 0.
    """
    return "full" if text == "full" else positive_number("--k", int, "'full' or a number of tokens")(text)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", required=True, type=Path, help="the teacher's model.pt")
    parser.add_argument("--data", required=True, type=Path, help="folder of the binarised corpus")
    parser.add_argument("--k", required=True, type=stored, help="most probable tokens to store, or 'full'")
    parser.add_argument("--temperature", type=positive_number("--temperature", float, "a number"), default=1.0)
    parser.add_argument(
        "--max-tokens",
        type=positive_number("--max-tokens", int, "a number of tokens"),
        default=4096,
        help="source or target tokens a batch, padding counted (default: %(default)s)",
    )
    parser.add_argument("--threads", type=positive_number("--threads", int, "a number"), default=1)
    parser.add_argument("--cpu", action="store_true", help="do not use a GPU even when there is one")
    parser.add_argument("--output", required=True, type=Path, help="folder of the cache")
    parser.add_argument("--summary", required=True, type=Path, help="JSON file: size, coverage, time")
    return parser.parse_args(arguments)


def check_replaceable(output: Path) -> None:
    """Refuse to replace anything but a cache.

    Raises:
        UserError: the output is a file, or a folder that holds something else.
    """
    if output.exists() and not output.is_dir():
        raise UserError(f"{output}: is a file; name a folder for the cache")
    for entry in sorted(output.iterdir()) if output.exists() else ():
        if entry.is_dir() or not any(fnmatch.fnmatch(entry.name, pattern) for pattern in OWN_FILES):
            raise UserError(f"{output}: holds {entry.name}, which is not of a teacher's cache; name another folder")


def main() -> None:
    """Check the arguments, claim the folder of the unfinished work, and compute."""
    arguments = parse_arguments()
    handle_stop_signals(exit_on_signal)  # until batches are computed, nothing is lost by leaving at once
    inputs = input_files(arguments.data, arguments.teacher, None, None)
    existed = arguments.output.exists()
    check_replaceable(arguments.output)
    quiet()  # before the imports that it is about; they take seconds, so bad arguments are refused before them
    import torch

    from kd import cache_writer
    from kd.checkpoints import first_line
    from kd.malloc import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    request = cache_writer.Request(
        teacher=arguments.teacher,
        data=arguments.data,
        k=arguments.k,
        temperature=arguments.temperature,
        max_tokens=arguments.max_tokens,
        shard_bytes=cache_writer.SHARD_BYTES,
        cpu=arguments.cpu,
    )
    hashes = {path: sha256(path) for path in inputs}
    key = request.key(hashes.values())
    progress = arguments.output.parent / "progress" / key
    with claimed(progress, "caching") as claim:
        if not existed and is_complete(arguments, key):
            ignore_stop_signals()
            say(f"{arguments.output}: another process has made it in the meantime, so it is taken as it is")
            clear(progress)
            return
        write_job(progress, work="caching", options=request.decisive(), seed=None, inputs=hashes)
        out_of_memory.record_oom_kill(claim.previous, progress)
        halvings = len(out_of_memory.read(progress))
        work = cache_writer.CacheWriter(request, progress, say, before_saving=claim.check, shrink=2**halvings)
        with stopping_between_batches() as before_batch:
            try:
                meta = work.run(before_batch)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory.is_out_of_memory(error):
                    raise
                out_of_memory.add(progress, first_line(error), None, halvings)
                exit_unfinished("a batch does not fit into memory: the next attempt takes batches half as large")
            summarise(work, key, meta, arguments, out_of_memory.read(progress))
        ignore_stop_signals()
        work.publish(arguments.output)  # the last, since it says that all is there


def is_complete(arguments: argparse.Namespace, key: str) -> bool:
    """Whether cache and summary are in place, belong together, and are of the work of this key."""
    try:
        summary, meta = json_argument(f"@{arguments.summary}"), sha256(arguments.output / "meta.json")
    except (OSError, UserError):
        return False
    return isinstance(summary, dict) and (summary.get("key"), summary.get("meta_sha256")) == (key, meta)


def summarise(
    work: Any, key: str, meta: dict[str, Any], arguments: argparse.Namespace, halvings: list[dict[str, Any]]
) -> None:
    """Say what the teacher's most probable tokens hold, and write the summary."""
    splits, seconds = meta["splits"], work.seconds
    share = "all tokens hold" if meta["k"] == "full" else f"top {meta['k']} tokens hold"
    for split, entry in splits.items():
        mean, low = entry["coverage"]["mean"], entry["coverage"]["p5"]
        say(f"{share} {mean:.1%} of the teacher's probability on average, {low:.1%} at the 5th percentile ({split})")
    write_json(
        arguments.summary,
        {
            "teacher": str(arguments.teacher),
            "k": meta["k"],
            "temperature": meta["temperature"],
            "tokens": work.tokens,
            "bytes": sum(shard["bytes"] for entry in splits.values() for shard in entry["shards"]),
            "coverage": splits["train"]["coverage"],
            "seconds": round(seconds, 2),
            "tokens_per_second": round(work.tokens / seconds, 1),
            "device": work.device,
            "out_of_memory": [each["cause"] for each in halvings],
            "key": key,
            "meta_sha256": work.meta_sha256,
        },
    )


if __name__ == "__main__":
    run(main)
