"""The records of trained systems and teacher caches, read and compared for the tables; and numbers as text."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from typing_extensions import TypedDict

from ekd_nmt.common.errors import UserError
from ekd_nmt.common.json_files import read_json

METRICS = ["bleu", "bleu_tokenized", "chrf"]
SHARED = ["model", "teacher", "init", "parameters", "teacher_mode"]  # equal for all seeds of a system


class Scores(TypedDict):
    """What the tables read of a ``scores.json``."""

    sentences: int
    signatures: dict[str, str]
    bleu: float
    bleu_tokenized: float
    chrf: float


class Inputs(TypedDict):
    """Files that a training read."""

    teacher: str | None
    init: str | None
    cache: str | None


class TrainingRecord(TypedDict):
    """What the tables read of a ``train.json``."""

    system: str
    model: str
    teacher: str | None
    init: str | None
    seed: int
    parameters: int
    updates: int
    train_seconds: float
    device: str
    tokens_per_second: float
    teacher_mode: str | None
    inputs: Inputs


class CacheRecord(TypedDict):
    """What the tables read of the summary of a teacher cache."""

    seconds: float
    device: str


NO_CACHE: CacheRecord = {"seconds": 0.0, "device": ""}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of every table: its runs, its name, the system to compare with, and the output files."""
    files: dict[str, Any] = {"type": Path, "metavar": "FILE"}
    parser.add_argument(
        "--scores", **files, nargs="+", required=True, help="scores.json of each run; their order is that of the rows"
    )
    parser.add_argument(
        "--training", **files, nargs="+", required=True, help="train.json of each run, in the same order"
    )
    parser.add_argument(
        "--caches", **files, nargs="*", default=[], help="summaries (.json) of the teacher caches that the runs read"
    )
    parser.add_argument("--experiment", required=True, help="name for the first column")
    parser.add_argument("--baseline", default="student", help="system to compare with (default: %(default)s)")
    parser.add_argument("--csv", type=Path, required=True, help="table to write, CSV")
    parser.add_argument("--markdown", type=Path, required=True, help="table to write, Markdown")


def given_runs(args: argparse.Namespace) -> pd.DataFrame:
    """The runs that the flags of :func:`add_arguments` name, see :func:`read_runs`.

    Raises:
        UserError: as :func:`read_runs`; also if the numbers of scores and trainings differ.
    """
    if len(args.scores) != len(args.training):
        raise UserError(f"{len(args.scores)} --scores and {len(args.training)} --training; give both files of each run")
    return read_runs(list(zip(args.scores, args.training, strict=True)), args.caches)


def read_runs(pairs: Sequence[tuple[Path, Path]], summaries: Sequence[Path] = ()) -> pd.DataFrame:
    """Read one run, that is one system with one seed, a row.

    Args:
        pairs: ``scores.json`` and ``train.json`` of each run.
        summaries: of the teacher caches; ``X/cache/top32.json`` is that of the cache ``X/cache/top32``.

    Returns:
        The content of both files, and ``folder`` (of the run), ``cache`` (folder; empty for none), ``cache_seconds``
        (of the whole cache, for every run that reads it; 0 for none) and ``cache_device``. Folders are absolute, so
        that they can be compared.

    Raises:
        UserError: a file is invalid, a run's cache has no summary, two runs are of the same system and seed, or the
            runs cannot be compared.
    """
    caches = {"": NO_CACHE}
    caches |= {os.path.abspath(path.with_suffix("")): read_json(path, CacheRecord) for path in summaries}
    rows, first = [], None
    for scores_path, train_path in pairs:
        scores, train = read_scores(scores_path), read_training(train_path)
        first = first or (scores_path, scores)
        for key in ("signatures", "sentences"):
            if scores[key] != first[1][key]:
                raise UserError(
                    f"{scores_path}: {key} {scores[key]}, but {first[0]} has {first[1][key]}; "
                    "only scores of one test set and metric version belong in one table: score all again"
                )
        cache = train["inputs"]["cache"]
        cache_folder = os.path.abspath(cache) if cache else ""
        if cache_folder not in caches:
            raise UserError(
                f"{train_path}: its teacher cache {cache} has no summary here; give {cache}.json to --caches"
            )
        rows.append(
            {
                **train,
                **{key: train[key] or "-" for key in ("teacher", "init", "teacher_mode")},
                **scores,
                "signature": scores["signatures"]["bleu"],
                "path": str(train_path),
                "folder": os.path.abspath(train_path.parent),
                "cache": cache_folder,
                "cache_seconds": caches[cache_folder]["seconds"],
                "cache_device": caches[cache_folder]["device"],
            }
        )
    runs = pd.DataFrame(rows)
    check_seeds(runs)
    return runs


def read_scores(path: Path) -> Scores:
    """Read a ``scores.json``; :class:`UserError` if it is invalid or a metric has no signature."""
    scores: Scores = read_json(path, Scores)
    missing = [metric for metric in METRICS if metric not in scores["signatures"]]
    if missing:
        raise UserError(f"{path}: has no signature for {', '.join(missing)}; score again")
    return scores


def read_training(path: Path) -> TrainingRecord:
    """Read a ``train.json``; :class:`UserError` if it is invalid or its ``teacher_mode`` and ``inputs`` disagree."""
    train: TrainingRecord = read_json(path, TrainingRecord)
    inputs, mode = train["inputs"], train["teacher_mode"]
    if (mode is not None, mode == "cached") != (inputs["teacher"] is not None, inputs["cache"] is not None):
        raise UserError(
            f"{path}: teacher_mode {mode!r} does not fit inputs.teacher {inputs['teacher']!r} and "
            f"inputs.cache {inputs['cache']!r}; delete it and train again"
        )
    return train


def check_seeds(runs: pd.DataFrame) -> None:
    """Raise :class:`UserError` if the runs of a system differ in more than the seed, or two have the same seed."""
    for (system, seed), same in runs.groupby(["system", "seed"], sort=False):
        if len(same) > 1:
            raise UserError(
                f"{same.path.iloc[1]}: system {system} with seed {seed} was already given by {same.path.iloc[0]}; "
                "pass each run once"
            )
    for system, same in runs.groupby("system", sort=False):
        for key in SHARED:
            if same[key].nunique() > 1:
                values = ", ".join(map(str, same[key].unique()))
                raise UserError(
                    f"{same.path.iloc[0]}: seeds of {system} differ in {key} ({values}); "
                    "train them again with one configuration"
                )


def as_text(table: pd.DataFrame, decimals: Mapping[str, int]) -> pd.DataFrame:
    """Format the columns of numbers with the given ``decimals``; a missing value is blank."""

    def number(value: float, places: int) -> str:
        if pd.isna(value):
            return ""
        text = f"{value:.{places}f}"
        return text.lstrip("-") if float(text) == 0 else text  # -0.001 is 0.00, not -0.00

    text = table.astype(object)
    for column, places in decimals.items():
        text[column] = [number(value, places) for value in table[column]]
    return text


def as_markdown(text: pd.DataFrame, numeric: Mapping[str, Any]) -> str:
    """Text as a Markdown table, the ``numeric`` columns aligned to the right."""
    align = ["right" if column in numeric else "left" for column in text.columns]
    return text.to_markdown(index=False, disable_numparse=True, colalign=align)
