"""Gather scores and training summaries into one table: one row a system, several seeds averaged."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cli import UserError, atomic_write, run

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
    "signature",
]
METRICS = ["bleu", "bleu_tokenized", "chrf"]
ARCHITECTURE = ["model", "teacher", "init", "parameters"]  # what all seeds of a system must share
DECIMALS = dict.fromkeys([*METRICS, "delta_vs_student", "gap_to_senior"], 2) | {"gap_percent": 1, "train_seconds": 1}
SCORE_TYPES = {"sentences": int, "signatures": dict, **dict.fromkeys(METRICS, (int, float))}
TRAIN_TYPES = {
    "system": str,
    "model": str,
    "teacher": (str, type(None)),
    "init": (str, type(None)),
    "seed": int,
    "parameters": int,
    "updates": int,
    "train_seconds": (int, float),
}


def read_json(path: Path, types: dict[str, Any]) -> dict[str, Any]:
    """Read a JSON object and check the keys in ``types``; other keys are left out.

    Raises:
        UserError: the file is missing, not a JSON object, or a key is missing or of another type.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); run the step that writes it") from error
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); delete it and run the step that writes it") from error
    for key, kind in types.items():
        present = isinstance(content, dict) and key in content
        # bool is an int to isinstance
        if not present or isinstance(content[key], bool) or not isinstance(content[key], kind):
            raise UserError(f"{path}: {key!r} is missing or of a wrong type; delete it and run the step that writes it")
    return {key: content[key] for key in types}


def read_runs(pairs: Sequence[tuple[Path, Path]]) -> pd.DataFrame:
    """Read one run, that is one system with one seed, a row.

    Raises:
        UserError: a file is not as expected, two runs are of the same system and seed, or the runs cannot be compared.
    """
    rows, first = [], None
    for scores_path, train_path in pairs:
        scores, train = read_json(scores_path, SCORE_TYPES), read_json(train_path, TRAIN_TYPES)
        missing = [metric for metric in METRICS if metric not in scores["signatures"]]
        if missing:
            raise UserError(f"{scores_path}: has no signature for {', '.join(missing)}; score again")
        first = first or (scores_path, scores)
        for key in ("signatures", "sentences"):
            if scores[key] != first[1][key]:
                raise UserError(
                    f"{scores_path}: {key} {scores[key]}, but {first[0]} has {first[1][key]}; "
                    "only scores of one test set and metric version belong in one table: score all again"
                )
        train |= {key: train[key] or "-" for key in ("teacher", "init")}
        rows.append({**train, **scores, "signature": scores["signatures"]["bleu"], "path": str(train_path)})
    runs = pd.DataFrame(rows)
    for _, same in runs.groupby(["system", "seed"], sort=False):
        if len(same) > 1:
            raise UserError(
                f"{same.path.iloc[1]}: system {same.system.iloc[0]} with seed {same.seed.iloc[0]} was already given by "
                f"{same.path.iloc[0]}; pass each run once"
            )
    return runs


def tabulate(runs: pd.DataFrame, experiment: str, baseline: str, senior: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Average the seeds of each system and compare it with the baseline and the senior teacher.

    Args:
        runs: as from :func:`read_runs`; the rows follow the first run of each system.
        experiment: name for the first column.
        baseline: system that ``delta_vs_student`` is taken against; blank when it has no runs.
        senior: system that ``gap_to_senior`` and ``gap_percent`` are taken against; blank when it has no runs.

    Returns:
        The table with :data:`COLUMNS`, unrounded, and the sample standard deviation over seeds of :data:`METRICS`, with
        the same rows (NaN for one seed).

    Raises:
        UserError: seeds of a system differ in its architecture.
    """
    groups = runs.groupby("system", sort=False)
    for name, same in groups:
        for key in ARCHITECTURE:
            if same[key].nunique() > 1:
                values = ", ".join(map(str, same[key].unique()))
                raise UserError(
                    f"{same.path.iloc[0]}: seeds of {name} differ in {key} ({values}); "
                    "train them again with one configuration"
                )
    table = pd.concat(
        [
            groups[[*ARCHITECTURE, "signature"]].first(),
            groups[["updates", "train_seconds", *METRICS]].mean(),
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


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    """Round each column to what it means and turn it into text; a missing value is blank."""

    def number(column: str, value: float) -> str:
        if pd.isna(value):
            return ""
        text = f"{value:.{DECIMALS.get(column, 0)}f}"
        return text.lstrip("-") if float(text) == 0 else text  # -0.001 is 0.00, not -0.00

    text = table.astype(object)
    for column in [*DECIMALS, "parameters", "updates", "seeds"]:
        text[column] = [number(column, value) for value in table[column]]
    return text


def markdown(table: pd.DataFrame, deviation: pd.DataFrame, signatures: dict[str, str], notes: Sequence[str]) -> str:
    """Return the table as Markdown; metrics are mean ± standard deviation where there are several seeds."""
    text = as_text(table)
    for metric in METRICS:
        text[metric] = [
            value if pd.isna(spread) else f"{value} ± {spread:.2f}"
            for value, spread in zip(text[metric], deviation[metric], strict=True)
        ]
    # signature is the same in every row and long, so it goes below
    shown = text.drop(columns="signature")
    numeric = [*DECIMALS, "parameters", "updates", "seeds"]
    align = ["right" if column in numeric else "left" for column in shown.columns]
    lines = [shown.to_markdown(index=False, disable_numparse=True, colalign=align), "", *notes, ""]
    lines += [f"- `{metric}`: `{signatures[metric]}`" for metric in METRICS]
    return "\n".join(lines) + "\n"


def notes(sentences: int, baseline: str, senior: str, averaged: bool) -> list[str]:
    """What the columns mean, a line each, and what introduces the signatures."""
    columns = [
        "`bleu` and `chrf` compare detokenised text with the raw reference",
        "`bleu_tokenized` compares tokens, as papers before sacreBLEU did",
        f"`delta_vs_student` is `bleu` minus that of `{baseline}`",
        f"`gap_to_senior` is `bleu` of `{senior}` minus that of the row, `gap_percent` the same in percent of it",
        "`parameters` are counted once where shared",
        "`updates` and `train_seconds` are of that row alone, without its teacher or the stage that it starts from",
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
    files = {"type": Path, "nargs": "+", "required": True, "metavar": "FILE"}
    parser.add_argument("--scores", **files, help="scores.json of each run; their order is the order of the rows")
    parser.add_argument("--training", **files, help="train.json of each run, in the same order")
    parser.add_argument("--experiment", required=True, help="name for the first column")
    parser.add_argument("--baseline", default="student", help="system to compare with (default: %(default)s)")
    parser.add_argument("--senior", default="senior_teacher", help="largest teacher (default: %(default)s)")
    parser.add_argument("--csv", type=Path, required=True, help="table to write, CSV")
    parser.add_argument("--markdown", type=Path, required=True, help="table to write, Markdown")
    args = parser.parse_args()

    if len(args.scores) != len(args.training):
        raise UserError(f"{len(args.scores)} --scores and {len(args.training)} --training; give both files of each run")
    runs = read_runs(list(zip(args.scores, args.training, strict=True)))
    table, deviation = tabulate(runs, args.experiment, args.baseline, args.senior)
    averaged = bool((table["seeds"] > 1).any())
    explanation = notes(int(runs.sentences.iloc[0]), args.baseline, args.senior, averaged)
    with atomic_write(args.markdown) as handle:
        handle.write(markdown(table, deviation, runs.signatures.iloc[0], explanation))
    with atomic_write(args.csv) as handle:
        as_text(table).to_csv(handle, index=False)


if __name__ == "__main__":
    run(main)
