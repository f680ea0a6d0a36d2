#!/usr/bin/env python3
"""Whether a run that is killed at random moments ends as if nothing had happened, to the bit.

    python benchmarks/faults.py --faults 100 --seed 1 --output results/faults.md

The experiment of ``--config`` runs once undisturbed, then on a SLURM cluster of one node that is started for this
(root, slurm-wlm, slurmdbd and MariaDB are needed), with the profile of slurm/, while faults are brought on it: kills of
trainings, of jobs, of the node's daemon and of Snakemake itself. If the workflow ends before all faults are done, it
starts afresh in another folder. All its models, hypotheses, scores, caches and tables must then equal those of the
undisturbed run, and no fault may cost a training more updates than lie between two checkpoints; otherwise the exit
status is 1.

Kinds of fault, waiting times and victims are drawn from ``--seed``. What runs at a moment depends on the speed of the
machine; so a fault that finds nothing to hit is put off until it does, and those behind it come first.

``--local`` needs no SLURM: the steps are processes of this machine, and the kinds are those that hit such.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from fault_kinds import KINDS, LOCAL, Disturbance, draw
from fault_report import attempts_of, attribute, differences, markdown, prints
from fault_scene import ROOT, Planned, Scene

from ekd_nmt.common.command import positive_number, run
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import atomic_write, write_json
from ekd_nmt.common.logs import say
from project_copy import copy_project
from slurm_cluster import Cluster, missing

OVERLAY = "faults.yaml"
SLURM = ("--profile", "slurm", "--slurm-init-seconds-before-status-checks", "2")
CPUS, GPUS, MEMORY_MB = 4, 3, 16000  # that the node pretends to have


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)

    def number(flag: str, kind: type, default: float, text: str) -> None:
        parse = positive_number(flag, kind, "a number")
        parser.add_argument(flag, type=parse, default=default, metavar="N", help=f"{text} (default: %(default)s)")

    number("--faults", int, 100, "faults in all")
    parser.add_argument(
        "--seed", type=int, default=1, help="of kinds, waiting times and victims (default: %(default)s)"
    )
    number("--mean", float, 12.0, "mean seconds between two faults")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, metavar="KIND", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--config", type=Path, default=ROOT / "benchmarks" / OVERLAY, metavar="FILE")
    parser.add_argument("--local", action="store_true", help="without SLURM")
    number("--cores", int, 2, "for Snakemake without SLURM, and for the undisturbed run")
    number("--minutes", float, 60.0, "after which the disturbed runs are given up")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="the report, as Markdown; without it, on the screen"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="all that the report is made from")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="run there, and keep all; the path must be short")
    return parser.parse_args(arguments)


def checkpoint_interval(config: Path) -> int:
    """Updates between two checkpoints, as a configuration has them.

    Raises:
        UserError: the file cannot be read, or has no such number.
    """
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"--config {config}: cannot be read ({error}); name a configuration") from error
    checkpoints = content.get("checkpoints") if isinstance(content, dict) else None
    updates = checkpoints.get("every_updates") if isinstance(checkpoints, dict) else None
    if not isinstance(updates, int):
        raise UserError(
            f"--config {config}: needs checkpoints.every_updates, which the cost of a fault is compared with"
        )
    return updates


def check(args: argparse.Namespace) -> None:
    """Refuse what cannot be run here; choose the kinds if none is named.

    Raises:
        UserError: says what and why.
    """
    args.interval = checkpoint_interval(args.config)
    if not args.local and (reason := missing(accounting=True)):
        raise UserError(f"{reason}; or give --local, which does without")
    args.kinds = args.kinds or list(LOCAL if args.local else KINDS)
    if args.local and (others := [kind for kind in args.kinds if kind not in LOCAL]):
        raise UserError(f"--kinds {others[0]}: needs SLURM; leave out --local, or choose of {', '.join(LOCAL)}")
    if args.folder and args.folder.exists() and (not args.folder.is_dir() or any(args.folder.iterdir())):
        raise UserError(f"--folder {args.folder}: is there already; name a new folder")


def undisturbed(folder: Path, cores: int) -> float:
    """Run the workflow in a copy of the project; returns the seconds it took.

    Raises:
        UserError: it fails.
    """
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--configfile", OVERLAY]
    started = time.monotonic()
    with contextlib.closing(Scene(folder, [], folder)) as scene:  # so that an interruption leaves no step running
        done = subprocess.run(command, cwd=folder, env=scene.environment, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"the undisturbed run failed: {' '.join(done.stderr.strip().splitlines()[-5:])}")
    return time.monotonic() - started


@contextlib.contextmanager
def workplace(folder: Path | None) -> Iterator[Path]:
    """The folder to run in: one that stays, or a temporary one that is kept if something goes wrong."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder.resolve()
        return
    made = Path(tempfile.mkdtemp(prefix="ekd-"))
    try:
        yield made
    except BaseException:
        say(f"kept for a look: {made}")
        raise
    shutil.rmtree(made)


def main() -> None:
    """Command line: see the module's docstring."""
    args = parse_arguments()
    check(args)
    # leave through all `finally`; and what a shell starts in the background ignores SIGINT, with all that it starts
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    plan = draw(args.seed, args.faults, args.kinds, args.mean)
    with workplace(args.folder) as base:
        result = compare(args, plan, base)
        text = markdown(result)
        if args.json:
            write_json(args.json, result)
        if args.output:
            with atomic_write(args.output) as handle:
                handle.write(text)
        else:
            print(text)
        if problems := result["problems"]:
            raise SystemExit(f"error: {len(problems)} problems, the first: {problems[0]}; kept for a look: {base}")


def compare(args: argparse.Namespace, plan: list[Planned], base: Path) -> dict[str, Any]:
    """Run undisturbed and disturbed, and compare; returns all that the report is made from."""
    master = base / "undisturbed"
    copy_project(master)
    shutil.copy2(args.config, master / OVERLAY)
    copies = base / "copy"  # of the same sources, also when somebody edits them meanwhile
    shutil.copytree(master, copies)
    say("the undisturbed run")
    seconds = undisturbed(master, args.cores)
    reference = prints(master)
    say(f"it took {seconds:.0f} s and made {len(reference)} files to compare")
    with contextlib.ExitStack() as stack:
        cluster = None
        arguments = ["--configfile", OVERLAY, "--retries", "100", "--rerun-incomplete"]
        if args.local:
            arguments += ["--cores", str(args.cores)]
        else:
            size = {"gpus": GPUS, "cpus": CPUS, "memory_mb": MEMORY_MB}
            cluster = stack.enter_context(Cluster(base / "slurm", accounting=True, **size))
            arguments += ["--cores", "all", *SLURM]
        began = time.monotonic()
        disturbance = Disturbance(plan, began + 60 * args.minutes)
        runs, problems, attempts = 0, [], []
        while not problems and (disturbance.left or not runs):
            runs += 1
            folder, logs = base / f"run-{runs}", base / f"logs-{runs}"
            shutil.copytree(copies, folder)
            logs.mkdir()
            scene = Scene(folder, arguments, logs, cluster)
            try:
                with contextlib.closing(scene):
                    disturbance.disturb(scene)
                problems += [f"run {runs}: {line}" for line in differences(reference, prints(folder))]
            except (UserError, RuntimeError, KeyboardInterrupt) as error:
                # what was done until then is reported; there is nothing to compare
                problems.append(
                    f"run {runs}, given up after {len(disturbance.done)} faults: {str(error) or 'interrupted'}"
                )
            attempts += attempts_of(folder, runs)
    attribute(attempts, disturbance.done)
    problems += [
        f"run {each['run']}: {each['folder']} repeated {each['repeated']} updates after {each['cause']}"
        for each in attempts
        if each["repeated"] > args.interval
    ]
    return {
        "command": shlex.join(["python", "benchmarks/faults.py", *sys.argv[1:]]),
        "seed": args.seed,
        "mean": args.mean,
        "kinds": args.kinds,
        "local": args.local,
        "interval": args.interval,
        "undisturbed_seconds": round(seconds, 1),
        "disturbed_seconds": round(time.monotonic() - began, 1),
        "runs": runs,
        "compared": reference,
        "faults": [asdict(fault) for fault in disturbance.done],
        "started": disturbance.started,
        "attempts": attempts,
        "unplanned": disturbance.unplanned,
        "problems": problems,
    }


if __name__ == "__main__":
    run(main)
