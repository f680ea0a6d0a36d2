#!/usr/bin/env python3
"""Compute a teacher's next-token distributions once, for all trainings that learn from it.

Finished shards are kept in ``progress/{key}`` beside the cache, which is no output of the workflow: the same job
resumes at the next shard.
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
from ekd_nmt.common.signals import exit_on_signal, exit_unfinished, handle_stop_signals, stopping_between_batches
from ekd_nmt.resume.out_of_memory import is_out_of_memory
from ekd_nmt.resume.training_inputs import training_inputs
from ekd_nmt.resume.work_folder import Job, WorkFolder

REVISION = 1  # of what this command writes: raise it when the same input gives another output

OWN_FILES = ("meta.json", "*.npy", ".snakemake_timestamp")  # those of a cache


def stored(text: str) -> int | Literal["full"]:
    """Tokens stored of each distribution.

    Raises:
        UserError: neither ``full`` nor a number above 0.
    """
    return "full" if text == "full" else positive_number("--top-k", int, "'full' or a number of tokens")(text)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", required=True, type=Path, help="the teacher's model.pt")
    parser.add_argument("--data", required=True, type=Path, help="folder of the binarised corpus")
    parser.add_argument("--top-k", required=True, type=stored, help="most probable tokens to store, or 'full'")
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
    """Check the arguments, hold the work folder, and compute."""
    arguments = parse_arguments()
    handle_stop_signals(exit_on_signal)  # nothing is lost before the first batch
    inputs = training_inputs(arguments.data, arguments.teacher)
    existed = arguments.output.exists()
    check_replaceable(arguments.output)
    quiet()  # before the imports that would log; they take seconds, so bad arguments are refused before them
    import torch

    from kd import cache_writer
    from kd.checkpoints import first_line
    from kd.malloc import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    request = cache_writer.Request(
        teacher=arguments.teacher,
        data=arguments.data,
        top_k=arguments.top_k,
        temperature=arguments.temperature,
        max_tokens=arguments.max_tokens,
        shard_bytes=cache_writer.SHARD_BYTES,
        cpu=arguments.cpu,
    )
    job = Job.of("cache_teacher", REVISION, request.decisive(), inputs)
    with WorkFolder.open(arguments.output.parent, job) as work:
        if not existed and work.already_made(arguments.output, lambda: is_complete(arguments, job.key)):
            return
        work.halve_batches_after_kill()
        halvings = len(work.halvings)
        caching = cache_writer.CacheWriter(request, work.path, say, before_saving=work.check_lease, shrink=2**halvings)
        with stopping_between_batches() as before_batch:
            try:
                meta = caching.run(before_batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                work.halve_batches(first_line(error), halvings=halvings)
                exit_unfinished("a batch does not fit into memory: the next attempt takes batches half as large")
            summarise(caching, work, meta, arguments)
        work.publish(caching.cache, arguments.output)  # the last: it marks the work as complete
        work.clear()


def is_complete(arguments: argparse.Namespace, key: str) -> bool:
    """Whether cache and summary are in place, belong together, and are of the job with this key."""
    try:
        summary, meta = json_argument(f"@{arguments.summary}"), sha256(arguments.output / "meta.json")
    except (OSError, UserError):
        return False
    return isinstance(summary, dict) and (summary.get("key"), summary.get("meta_sha256")) == (key, meta)


def summarise(caching: Any, work: WorkFolder, meta: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Log how much probability the stored tokens hold, and write the summary."""
    splits, seconds = meta["splits"], caching.seconds
    share = "all tokens hold" if meta["top_k"] == "full" else f"top {meta['top_k']} tokens hold"
    for split, entry in splits.items():
        mean, low = entry["coverage"]["mean"], entry["coverage"]["p5"]
        say(f"{share} {mean:.1%} of the teacher's probability on average, {low:.1%} at the 5th percentile ({split})")
    write_json(
        arguments.summary,
        {
            "teacher": str(arguments.teacher),
            "top_k": meta["top_k"],
            "temperature": meta["temperature"],
            "tokens": caching.tokens,
            "bytes": sum(shard["bytes"] for entry in splits.values() for shard in entry["shards"]),
            "coverage": splits["train"]["coverage"],
            "seconds": round(seconds, 2),
            "tokens_per_second": round(caching.tokens / seconds, 1),
            "device": caching.device,
            "out_of_memory": [each.cause for each in work.halvings],
            "key": work.path.name,
            "meta_sha256": caching.meta_sha256,
        },
    )


if __name__ == "__main__":
    run(main)
