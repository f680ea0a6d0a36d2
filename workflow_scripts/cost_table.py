"""Collect the total cost of each method: one row a system, with all trainings and caches that it depends on."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ekd_nmt.common.command import run
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import atomic_write
from ekd_nmt.report.run_records import add_arguments, as_markdown, as_text, given_runs

REVISION = 1  # of what this command writes: raise it when the same input gives another output

# their sum is total_seconds
SECONDS = ["own_seconds", "init_seconds", "teacher_training_seconds", "cache_seconds"]
DECIMALS = {
    "seeds": 0,
    **dict.fromkeys(["bleu", "delta_vs_student"], 2),
    **dict.fromkeys([*SECONDS, "total_seconds"], 1),
    "times_student": 2,
}
COLUMNS = ["experiment", "system", *DECIMALS]

Run = Mapping[str, Any]


def reach(start: str, runs: Mapping[str, Run], roles: Sequence[str]) -> list[str]:
    """The run in folder ``start`` and all runs that it depends on by ``roles`` (of ``inputs``), each once.

    Raises:
        UserError: a run that another depends on is not among ``runs``.
    """
    found, pending = [], [start]
    while pending:
        folder = pending.pop()
        if folder in found:
            continue
        found.append(folder)
        for role in roles:
            model = runs[folder]["inputs"][role]
            if model is None:
                continue
            needed = os.path.dirname(os.path.abspath(model))
            if needed not in runs:
                raise UserError(
                    f"{runs[folder]['path']}: its {role} {model} is not of a run given here; "
                    "pass scores.json and train.json of that run too"
                )
            pending.append(needed)
    return found


def cost(folder: str, runs: Mapping[str, Run]) -> dict[str, float]:
    """Seconds to build the model in ``folder`` from scratch; ``runs`` are by their folder.

    Returns:
        :data:`SECONDS`. Each training counts once; a teacher that is also a stage counts as a stage.

    Raises:
        UserError: a run that another depends on is not among ``runs``.
    """
    stages = reach(folder, runs, ["init"])
    needed = reach(folder, runs, ["init", "teacher"])
    caches = {runs[each]["cache"]: runs[each]["cache_seconds"] for each in needed}

    def trained(folders: Sequence[str]) -> float:
        return sum(runs[each]["train_seconds"] for each in folders)

    return {
        "own_seconds": trained([folder]),
        "init_seconds": trained(stages[1:]),
        "teacher_training_seconds": trained([each for each in needed if each not in stages]),
        "cache_seconds": sum(caches.values()),
    }


def tabulate(runs: pd.DataFrame, experiment: str, baseline: str) -> pd.DataFrame:
    """Average the costs of each system over its seeds, and compare them with the baseline.

    Args:
        runs: from :func:`read_runs`; the rows follow the first run of each system.
        experiment: name in the first column.
        baseline: system that ``delta_vs_student`` and ``times_student`` compare with; blank if it has no runs.

    Returns:
        The table with :data:`COLUMNS`, unrounded.

    Raises:
        UserError: two runs are in one folder, or a run that another depends on is missing.
    """
    for _, same in runs.groupby("folder", sort=False):
        if len(same) > 1:
            raise UserError(
                f"{same.path.iloc[1]}: in the folder of {same.path.iloc[0]}; pass each train.json where it was written"
            )
    by_folder = runs.set_index("folder").to_dict("index")
    costs = pd.DataFrame([cost(folder, by_folder) for folder in runs["folder"]])
    groups = pd.concat([runs[["system", "bleu"]], costs], axis="columns").groupby("system", sort=False)
    table = groups.mean().assign(seeds=groups.size(), experiment=experiment)
    table["delta_vs_student"] = table["bleu"] - table["bleu"].get(baseline, float("nan"))
    table["total_seconds"] = table[SECONDS].sum(axis="columns")
    # blank without a baseline, or if it took no time
    table["times_student"] = table["total_seconds"] / (table["total_seconds"].get(baseline) or float("nan"))
    return table.reset_index()[COLUMNS]


def markdown(text: pd.DataFrame, notes: Sequence[str]) -> str:
    """The table as Markdown, with notes below."""
    return "\n".join([as_markdown(text, DECIMALS), "", *notes]) + "\n"


def notes(runs: pd.DataFrame, baseline: str, averaged: bool) -> list[str]:
    """Explanations of the columns."""
    devices = pd.concat([runs["device"], runs["cache_device"]]).unique()
    columns = [
        "`own_seconds` are the training of the system itself, with the teacher if that ran during the training",
        "`init_seconds` are the trainings of the stages that it starts from, back to random weights",
        "`teacher_training_seconds` are the trainings of all other systems that it needs: its own teacher, those of "
        "its stages and of the teachers, and what the teachers start from",
        "`cache_seconds` are all teacher caches that any of these trainings reads, each whole",
        "`total_seconds` are the sum, in which each training and each cache counts once",
        "a training on several GPUs counts as the time it took, not once for each GPU",
        "counted are updates, validations and the teachers' passes over the corpus, at whatever load the machine had; "
        "not the starting of processes, the data and the translation of the test set",
        f"`times_student` is `total_seconds` divided by that of `{baseline}`",
        f"`delta_vs_student` is `bleu` minus that of `{baseline}`",
        *(["rows with several `seeds` are means; each seed counts all that it needs"] if averaged else []),
    ]
    return [
        f"What one model of each system costs from nothing but the data, in seconds of wall-clock time on "
        f"{' + '.join(filter(None, devices))}.",
        "What several systems share, such as a teacher, is counted in the row of each, so the rows do not add up.",
        "",
        *(f"- {column}" for column in columns),
    ]


def main() -> None:
    """Command line: see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    args = parser.parse_args()

    runs = given_runs(args)
    table = tabulate(runs, args.experiment, args.baseline)
    text = as_text(table, DECIMALS)
    with atomic_write(args.markdown) as handle:
        handle.write(markdown(text, notes(runs, args.baseline, bool((table["seeds"] > 1).any()))))
    with atomic_write(args.csv) as handle:
        text.to_csv(handle, index=False)


if __name__ == "__main__":
    run(main)
