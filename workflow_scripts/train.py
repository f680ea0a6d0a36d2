#!/usr/bin/env python3
"""Train one system: plain, distilled from a teacher, from random weights or those of a previous stage.

Checkpoints are kept in ``{output}/progress/{key}``, which is no output of the workflow: the same job resumes from the
last checkpoint, and one with other options or inputs starts from scratch.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

from ekd_nmt.common.command import json_argument, positive_number, run
from ekd_nmt.common.errors import Interrupted, TooLarge, UserError
from ekd_nmt.common.files import write_json, write_lines
from ekd_nmt.common.log_filters import quiet
from ekd_nmt.common.logs import EXIT_INTERRUPTED, say
from ekd_nmt.common.signals import exit_unfinished, handle_stop_signals
from ekd_nmt.config.types import count_ranks
from ekd_nmt.launch.ddp_launcher import run_ranks
from ekd_nmt.launch.ddp_worker import as_rank, default_stop_signals
from ekd_nmt.resume.training_inputs import training_inputs
from ekd_nmt.resume.work_folder import Job, WorkFolder

REVISION = 1  # of what this command writes: raise it when the same input gives another output

REQUIRED = {"system", "model_name", "model", "training", "teacher", "init"}


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--options", required=True, type=json_argument, help="resolved options, as JSON or @FILE")
    parser.add_argument("--data", required=True, type=Path, help="folder of the binarised corpus")
    parser.add_argument("--seed", required=True, type=int)
    parser.add_argument("--teacher", type=Path, help="the teacher's model.pt")
    parser.add_argument("--teacher-cache", type=Path, help="folder of the teacher's cache; without it the teacher runs")
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
    parser.add_argument("--outcomes", type=Path, help=argparse.SUPPRESS)  # makes this process a rank, see ddp_worker.py
    return parser.parse_args(arguments)


def check_options(arguments: argparse.Namespace) -> None:
    """Check that the options and the command line agree on teacher, cache and initial model.

    Raises:
        UserError: they disagree, or the options are not those of a system.
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
            "distillation.teacher_mode 'cached', and not with 'online'"
        )


def teacher_mode(options: dict[str, Any]) -> str | None:
    """Where the teacher's distributions come from, ``cached`` or ``online``; None without a teacher."""
    return options["distillation"]["teacher_mode"] if options["teacher"] is not None else None


def check_cache(options: dict[str, Any], cache: Path | None) -> None:
    """Check that the cache keeps as many tokens as the options say; the rest is checked when it is opened.

    Raises:
        UserError: it keeps another number.
    """
    if cache is None:
        return
    meta = json_argument(f"@{cache / 'meta.json'}")
    wanted, found = options["distillation"]["top_k"], meta.get("top_k") if isinstance(meta, dict) else None
    if found != wanted:
        raise UserError(
            f"{cache}: the cache has top_k {found}, distillation.top_k is {wanted}; give the cache with that top_k"
        )


def leave(number: int, frame: Any) -> NoReturn:
    """A signal handler that exits at once; for times at which there is nothing to save."""
    exit_unfinished(f"{signal.Signals(number).name} while no update was under way: progress is saved")


def main() -> None:
    """Check the arguments, hold the work folder, and train: in this process, or in ranks (this may be one)."""
    arguments = parse_arguments()
    options = arguments.options
    check_options(arguments)
    # nothing to save while nothing is trained yet, nor once training has ended and its results are not in place
    handle_stop_signals(leave if arguments.outcomes is None else lambda *_: sys.exit(EXIT_INTERRUPTED))
    if arguments.outcomes is not None:
        with as_rank(arguments.outcomes):
            train(arguments, WorkFolder.inherited(arguments.outcomes.parent, "train"))
        return
    inputs = training_inputs(arguments.data, arguments.teacher, arguments.teacher_cache, arguments.init)
    check_cache(options, arguments.teacher_cache)
    job = Job.of("train", REVISION, options | {"seed": arguments.seed}, inputs)
    try:
        with WorkFolder.open(arguments.output, job) as work:
            work.halve_batches_after_kill()
            if count_ranks(options["training"]) == 1:
                train(arguments, work)
            else:
                run_ranks([__file__, *sys.argv[1:]], options["training"], arguments.threads, work)
    except Interrupted as stop:
        exit_unfinished(str(stop))


def train(arguments: argparse.Namespace, work: WorkFolder) -> None:
    """Train, or resume, then put the results in place; of several ranks, the first one does.

    Raises:
        Interrupted: a stop signal came, or memory ran out; progress is saved.
        UserError: something does not fit, or the loss is not finite.
    """
    options = arguments.options
    quiet()  # before the imports that would log; they take seconds, so bad arguments are refused before them
    import torch

    from kd.checkpoints import remove_spare
    from kd.malloc import keep_freed_memory
    from kd.setup import prepare, publish_model
    from kd.trainer import NotFinite, OutOfMemory

    keep_freed_memory()
    training = options["training"]
    is_first = arguments.outcomes is None or os.environ["RANK"] == "0"
    halvings = len(work.halvings)
    torch.set_num_threads(max(1, arguments.threads // training["gpus"]))
    with default_stop_signals(count_ranks(training)):
        driver = prepare(
            options,
            data=arguments.data,
            progress=work.path,
            seed=arguments.seed,
            teacher=arguments.teacher,
            teacher_cache=arguments.teacher_cache,
            init=arguments.init,
            cpu=arguments.cpu,
            halvings=halvings,
            before_saving=work.check_lease,
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
        work.halve_batches(str(error), driver.updates, halvings)
        raise TooLarge(
            f"update {driver.updates + 1} does not fit into memory ({error}): the next attempt resumes from the last "
            f"checkpoint with batches of {training['max_tokens'] // 2 ** (halvings + 1)} instead of "
            f"{training['max_tokens'] // 2**halvings} tokens, and twice as many of them an update"
        ) from error
    except NotFinite as error:
        raise UserError(
            f"{options['system']}: {error}; lower training.lr, lengthen training.warmup_updates, set "
            "training.clip_norm, or train in fp32; if only the kd loss is named, check the teacher"
        ) from error
    driver.ranks.disconnect()
    if is_first:
        work.check_lease()
        write_records(driver, arguments, work)
        publish_model(driver, work.path / "model.pt")
        work.publish(work.path / "model.pt", arguments.output / "model.pt")  # the last: it marks the run as complete
        remove_spare(work.path)


def write_records(driver: Any, arguments: argparse.Namespace, work: WorkFolder) -> None:
    """Write configuration, history and summary."""
    from kd import attempts

    tries = attempts.read(work.path)
    options, output = arguments.options, arguments.output
    validations = [record for record in driver.history if record["event"] == "valid" and record["epoch"] > 0]
    metric = options["training"]["validation"]["metric"]
    inputs = {"teacher": arguments.teacher, "init": arguments.init, "cache": arguments.teacher_cache}
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
            "inputs": {role: None if path is None else str(path) for role, path in inputs.items()},
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
            "out_of_memory": [each.model_dump(include={"update", "cause"}) for each in work.halvings],
        },
    )


if __name__ == "__main__":
    run(main)
