"""Collect scores and training summaries in one table: one row a system, averaged over seeds."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import pandas as pd

from ekd_nmt.common.command import run
from ekd_nmt.common.files import atomic_write
from ekd_nmt.report.run_records import METRICS, SHARED, add_arguments, as_markdown, as_text, given_runs

REVISION = 1  # of what this command writes: raise it when the same input gives another output

COLUMNS = [
    "experiment",
    "system",
    "model",
    "teacher",
    "init",
    "parameters",
    "updates",
    "seeds",
    "bleu",
    "bleu_tokenized",
    "chrf",
    "delta_vs_student",
    "gap_to_senior",
    "gap_percent",
    "train_seconds",
    "teacher_seconds",
    "device",
    "tokens_per_second",
    "signature",
]
MEANS = ["updates", "train_seconds", "teacher_seconds", "tokens_per_second", *METRICS]  # of the seeds
DECIMALS = {
    **dict.fromkeys(["parameters", "updates", "seeds", "tokens_per_second"], 0),
    **dict.fromkeys(["gap_percent", "train_seconds", "teacher_seconds"], 1),
    **dict.fromkeys([*METRICS, "delta_vs_student", "gap_to_senior"], 2),
}


def teacher_seconds(runs: pd.DataFrame) -> pd.Series:
    """Seconds of the teacher cache that each run reads, shared equally between the ``runs`` that read it.

    0 for a run without a teacher, missing for one with an online teacher.
    """
    readers = runs.groupby("cache")["cache"].transform("size")
    return (runs["cache_seconds"] / readers).where(runs["teacher_mode"] != "online")


def tabulate(runs: pd.DataFrame, experiment: str, baseline: str, senior: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Average the seeds of each system and compare it with the baseline and the senior teacher.

    Args:
        runs: from :func:`read_runs`; the rows follow the first run of each system.
        experiment: name in the first column.
        baseline: system that ``delta_vs_student`` compares with; blank if it has no runs.
        senior: system that ``gap_to_senior`` and ``gap_percent`` compare with; blank if it has no runs.

    Returns:
        The table with :data:`COLUMNS`, unrounded, and the sample standard deviation over seeds of :data:`METRICS`, with
        the same rows (NaN for one seed).
    """
    groups = runs.assign(teacher_seconds=teacher_seconds(runs)).groupby("system", sort=False)
    table = pd.concat(
        [
            groups[[*SHARED, "signature"]].first(),
            groups["device"].agg(lambda devices: " + ".join(devices.unique())),
            groups[MEANS].mean(),
            groups.size().rename("seeds"),
        ],
        axis="columns",
    )
    bleu_of = table["bleu"].get
    table["delta_vs_student"] = table["bleu"] - bleu_of(baseline, float("nan"))
    table["gap_to_senior"] = bleu_of(senior, float("nan")) - table["bleu"]
    senior_bleu = bleu_of(senior, float("nan"))
    table["gap_percent"] = 100 * table["gap_to_senior"] / (senior_bleu or float("nan"))
    table["experiment"] = experiment
    deviation = groups[METRICS].std().loc[table.index]
    return table.reset_index()[COLUMNS], deviation.reset_index(drop=True)


def markdown(table: pd.DataFrame, deviation: pd.DataFrame, signatures: dict[str, str], notes: Sequence[str]) -> str:
    """The table as Markdown; metrics of several seeds are mean ± standard deviation."""
    text = as_text(table, DECIMALS)
    for metric in METRICS:
        text[metric] = [
            value if pd.isna(spread) else f"{value} ± {spread:.2f}"
            for value, spread in zip(text[metric], deviation[metric], strict=True)
        ]
    # signature is the same in every row and long, so it goes below
    shown = text.drop(columns="signature")
    lines = [as_markdown(shown, DECIMALS), "", *notes, ""]
    lines += [f"- `{metric}`: `{signatures[metric]}`" for metric in METRICS]
    return "\n".join(lines) + "\n"


def notes(sentences: int, baseline: str, senior: str, averaged: bool) -> list[str]:
    """Explanations of the columns, and the line that introduces the signatures."""
    columns = [
        "`bleu` and `chrf` compare detokenised text with the raw reference",
        "`bleu_tokenized` compares tokens, as papers before sacreBLEU did",
        f"`delta_vs_student` is `bleu` minus that of `{baseline}`",
        f"`gap_to_senior` is `bleu` of `{senior}` minus that of the row, `gap_percent` the same in percent of it",
        "`parameters` are counted once where shared",
        "`updates` and `train_seconds` are of that row alone, without those of its teacher or of the stage before",
        "`teacher_seconds` is the row's share of its teacher cache: the seconds that the cache took, divided by the "
        "number of runs in this table that read it; 0 without a teacher, blank where the teacher ran during the "
        "training, in `train_seconds`",
        "`device` is what the row was trained on",
        "`tokens_per_second` are target tokens a second in training, the validation left out",
        "`cost_table` adds up what all that a row needs has cost",
        *(["rows with several `seeds` are means, ± the sample standard deviation over seeds"] if averaged else []),
        "`-` means none",
    ]
    return [
        f"Scores on {sentences} test sentences, from 0 to 100.",
        "",
        *(f"- {column}" for column in columns),
        "",
        "The signatures, the same for all rows, say how sacreBLEU computed each score:",
    ]


def main() -> None:
    """Command line: see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.add_argument("--senior", default="senior_teacher", help="largest teacher (default: %(default)s)")
    args = parser.parse_args()

    runs = given_runs(args)
    table, deviation = tabulate(runs, args.experiment, args.baseline, args.senior)
    averaged = bool((table["seeds"] > 1).any())
    explanation = notes(int(runs.sentences.iloc[0]), args.baseline, args.senior, averaged)
    with atomic_write(args.markdown) as handle:
        handle.write(markdown(table, deviation, runs.signatures.iloc[0], explanation))
    with atomic_write(args.csv) as handle:
        as_text(table, DECIMALS).to_csv(handle, index=False)


if __name__ == "__main__":
    run(main)
