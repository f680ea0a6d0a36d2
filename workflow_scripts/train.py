#!/usr/bin/env python3
"""Train one system: plain, distilled from a teacher, from random weights or those of a previous stage.

Checkpoints live in ``{output}/progress/{key}``, which is no output of the workflow: the key is a hash of the options
and of all input files, so a rerun of the same job goes on where it was, and one with other options starts afresh.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from ekd_nmt.common.command import json_argument, positive_number, run
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import sha256, write_json, write_lines
from ekd_nmt.common.log_filters import quiet
from ekd_nmt.common.logs import say
from ekd_nmt.common.signals import EXIT_INTERRUPTED, exit_unfinished, handle_stop_signals, ignore_stop_signals
from ekd_nmt.launch.ddp_launcher import Interrupted, TooLarge, count_ranks, launch
from ekd_nmt.launch.ddp_worker import as_rank, default_stop_signals
from ekd_nmt.resume import out_of_memory
from ekd_nmt.resume.lease import Claim, claimed, inherited
from ekd_nmt.resume.work_folder import write_job

REVISION = 1  # of what this command writes: raise it when the same input gives another output

REQUIRED = {"system", "model_name", "model", "training", "teacher", "init"}


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--options", required=True, type=json_argument, help="resolved options, as JSON or @FILE")
    parser.add_argument("--data", required=True, type=Path, help="folder of the binarised corpus")
    parser.add_argument("--seed", required=True, type=int)
    parser.add_argument("--teacher", type=Path, help="the teacher's model.pt")
    parser.add_argument("--teacher-cache", type=Path, help="folder of the teacher's cache; without it, it is run along")
    parser.add_argument("--init", type=Path, help="model.pt whose weights training starts from")
    parser.add_argument("--output", required=True, type=Path, help="folder of the run")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cpu", action="store_true", help="do not use a GPU even when there is one")
    parser.add_argument(
        "--checkpoint-updates",
        type=positive_number("--checkpoint-updates", int, "a number of updates"),
        default=os.environ.get("EKD_CHECKPOINT_UPDATES") or None,
        help="after which there is a checkpoint, beside those at the ends of epochs (default: $EKD_CHECKPOINT_UPDATES)",
    )
    parser.add_argument(
        "--checkpoint-minutes",
        type=positive_number("--checkpoint-minutes", float, "a number of minutes"),
        default=os.environ.get("EKD_CHECKPOINT_MINUTES") or "10",
        help="the same by the clock (default: $EKD_CHECKPOINT_MINUTES, or 10)",
    )
    parser.add_argument("--outcomes", type=Path, help=argparse.SUPPRESS)  # makes a rank of this process, see launch.py
    return parser.parse_args(arguments)


def progress_key(options: dict[str, Any], seed: int, hashes: Iterable[str]) -> str:
    """A hash of all that decides what a training gives: options, seed, and the contents of the input files."""
    parts = [json.dumps(options, sort_keys=True), str(seed), *hashes]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def input_files(data: Path, teacher: Path | None, cache: Path | None, init: Path | None) -> list[Path]:
    """The files that tell what a training reads: teacher, its cache's meta.json, which names all of it by hash, initial
    model, dictionaries, training and validation set.

    Raises:
        UserError: one of them is missing.
    """
    parts = [sorted(data.glob(pattern)) for pattern in ("dict.*", "train.*", "valid.*")]
    if not all(parts):
        raise UserError(f"{data}: no binarised corpus there; run workflow_scripts/binarize.py first")
    for role, path in (("teacher", teacher), ("init", init)):
        if path is not None and not path.is_file():
            raise UserError(f"{path}: the {role} model is missing; train it first (snakemake {path})")
    meta = None if cache is None else cache / "meta.json"
    if meta is not None and not meta.is_file():
        raise UserError(f"{cache}: is no finished teacher cache; delete {cache} and run again, then it is made anew")
    models = [path for path in (teacher, meta, init) if path is not None]
    return [*models, *(path for part in parts for path in part)]


def check_options(arguments: argparse.Namespace) -> None:
    """The options are those of a system, and name a teacher, its cache and an initial model when the command line does.

    Raises:
        UserError: they are not or do not.
    """
    options = arguments.options
    if not isinstance(options, dict) or not options.keys() >= REQUIRED:
        raise UserError(f"--options: needs a JSON object with {', '.join(sorted(REQUIRED))}, as the workflow makes it")
    for role in ("teacher", "init"):
        if (options[role] is None) != (getattr(arguments, role) is None):
            raise UserError(
                f"--{role}: the options of {options['system']!r} and the command line disagree; give both or none"
            )
    if (teacher_mode(options) == "cached") != (arguments.teacher_cache is not None):
        raise UserError(
            f"--teacher-cache: the options of {options['system']!r} and the command line disagree; give it with "
            "distillation.teacher 'cached', and not with 'online'"
        )


def teacher_mode(options: dict[str, Any]) -> str | None:
    """Where the teacher's distributions come from, ``cached`` or ``online``; None without a teacher."""
    return options["distillation"]["teacher"] if options["teacher"] is not None else None


def check_cache(options: dict[str, Any], cache: Path | None) -> None:
    """The cache keeps as many tokens as the options say; all else about it is compared when it is opened.

    Raises:
        UserError: it does not.
    """
    if cache is None:
        return
    meta = json_argument(f"@{cache / 'meta.json'}")
    wanted, found = options["distillation"]["k"], meta.get("k") if isinstance(meta, dict) else None
    if found != wanted:
        raise UserError(f"{cache}: the cache is of k {found}, distillation.k is {wanted}; give the cache of that k")


def leave(number: int, frame: Any) -> NoReturn:
    """End this process, at a time at which nothing is lost by that."""
    exit_unfinished(f"{signal.Signals(number).name} while no update was under way: progress is saved")


def main() -> None:
    """Check the arguments, claim the folder of the checkpoints, and train, here or in ranks (this may be one)."""
    arguments = parse_arguments()
    options = arguments.options
    check_options(arguments)
    # while nothing is trained yet, and when all is but the results are not in place, there is nothing to save
    handle_stop_signals(leave if arguments.outcomes is None else lambda *_: sys.exit(EXIT_INTERRUPTED))
    if arguments.outcomes is not None:
        with as_rank(arguments.outcomes):
            train(arguments, arguments.outcomes.parent, inherited(arguments.outcomes.parent))
        return
    inputs = input_files(arguments.data, arguments.teacher, arguments.teacher_cache, arguments.init)
    check_cache(options, arguments.teacher_cache)
    hashes = {path: sha256(path) for path in inputs}
    progress = arguments.output / "progress" / progress_key(options, arguments.seed, hashes.values())
    try:
        with claimed(progress) as claim:
            write_job(progress, work="training", options=options, seed=arguments.seed, inputs=hashes)
            out_of_memory.record_oom_kill(claim.previous, progress)
            if count_ranks(options["training"]) == 1:
                train(arguments, progress, claim)
            else:
                launch([__file__, *sys.argv[1:]], options["training"], arguments.threads, progress, claim)
    except Interrupted as stop:
        exit_unfinished(str(stop))


def train(arguments: argparse.Namespace, progress: Path, claim: Claim) -> None:
    """Train or go on with what ``progress`` holds, then put the results in place; of several ranks, the first does.

    Raises:
        Interrupted: a stop signal came, or memory did not suffice; progress is saved.
        UserError: something does not fit, or the loss is lost.
    """
    options = arguments.options
    quiet()  # before the imports that it is about; they take seconds, so bad arguments are refused before them
    import torch

    from kd.checkpoints import remove_spare
    from kd.malloc import keep_freed_memory
    from kd.setup import prepare, publish_model
    from kd.trainer import NotFinite, OutOfMemory

    keep_freed_memory()
    training = options["training"]
    is_first = arguments.outcomes is None or os.environ["RANK"] == "0"
    halvings = len(out_of_memory.read(progress))
    torch.set_num_threads(max(1, arguments.threads // training["gpus"]))
    with default_stop_signals(count_ranks(training)):
        driver = prepare(
            options,
            data=arguments.data,
            progress=progress,
            seed=arguments.seed,
            teacher=arguments.teacher,
            teacher_cache=arguments.teacher_cache,
            init=arguments.init,
            cpu=arguments.cpu,
            halvings=halvings,
            before_saving=claim.check,
            say=say if is_first else lambda line: None,
        )
    try:
        driver.run(
            max_epoch=training["max_epoch"],
            max_update=training["max_update"],
            interval=training["validation"]["interval"],
            patience=training["validation"]["patience"],
            checkpoint_updates=arguments.checkpoint_updates,
            checkpoint_minutes=arguments.checkpoint_minutes,
        )
    except OutOfMemory as error:
        out_of_memory.add(progress, str(error), driver.updates, halvings)
        raise TooLarge(
            f"update {driver.updates + 1} does not fit into memory ({error}): the next attempt goes on from the last "
            f"checkpoint with batches of {training['max_tokens'] // 2 ** (halvings + 1)} instead of "
            f"{training['max_tokens'] // 2**halvings} tokens, and twice as many of them an update"
        ) from error
    except NotFinite as error:
        raise UserError(
            f"{options['system']}: {error}; lower training.lr, lengthen training.warmup_updates, set "
            "training.clip_norm, or train in fp32; if only the kd part is named, look at the teacher"
        ) from error
    driver.ranks.disconnect()
    if is_first:
        claim.check()
        publish(driver, arguments, publish_model)
        remove_spare(progress)


def publish(driver: Any, arguments: argparse.Namespace, publish_model: Any) -> None:
    """Write model, configuration, history and summary; the model last, since it says that all is there."""
    from kd import attempts

    tries = attempts.read(driver.folder)
    options, output = arguments.options, arguments.output
    validations = [record for record in driver.history if record["event"] == "valid" and record["epoch"] > 0]
    metric = options["training"]["validation"]["metric"]
    best = (max if metric == "bleu" else min)(reversed(validations), key=lambda record: record[metric])
    write_json(output / "config.json", options | {"seed": arguments.seed})
    write_lines(output / "training.jsonl", map(json.dumps, driver.history))
    write_json(
        output / "train.json",
        {
            "system": options["system"],
            "model": options["model_name"],
            "teacher": options["teacher"],
            "init": options["init"],
            "teacher_mode": teacher_mode(options),
            "inputs": {
                role: None if path is None else str(path)
                for role, path in (
                    ("teacher", arguments.teacher),
                    ("init", arguments.init),
                    ("cache", arguments.teacher_cache),
                )
            },
            "seed": arguments.seed,
            "parameters": driver.parameters,
            "updates": driver.updates,
            "epochs": validations[-1]["epoch"],
            "best_epoch": best["epoch"],
            "best_valid_bleu": best.get("bleu"),
            "best_valid_loss": best["loss"],
            "train_seconds": round(driver.seconds, 2),
            "tokens_per_second": round(driver.tokens_per_second, 1),
            "device": driver.device,
            "attempts": len(tries),
            "repeated_updates": sum(each["repeated"] for each in tries),
            "out_of_memory": [
                {key: each[key] for key in ("update", "cause")} for each in out_of_memory.read(driver.folder)
            ],
        },
    )
    ignore_stop_signals()
    publish_model(driver, output / "model.pt")


if __name__ == "__main__":
    run(main)
