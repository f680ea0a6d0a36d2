"""What the tables share: reading the files of trained systems and of teacher caches, and turning numbers into text."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ekd_nmt.common.errors import UserError

METRICS = ["bleu", "bleu_tokenized", "chrf"]
SHARED = ["model", "teacher", "init", "parameters", "teacher_mode"]  # what all seeds of a system must have in common
NUMBER = (int, float)
OPTIONAL = (str, type(None))
SCORE_TYPES = {"sentences": int, "signatures": dict, **dict.fromkeys(METRICS, NUMBER)}
TRAIN_TYPES = {
    "system": str,
    "model": str,
    "teacher": OPTIONAL,
    "init": OPTIONAL,
    "seed": int,
    "parameters": int,
    "updates": int,
    "train_seconds": NUMBER,
    "device": str,
    "tokens_per_second": NUMBER,
    "teacher_mode": OPTIONAL,
    "inputs": dict,
}
INPUT_TYPES = dict.fromkeys(("teacher", "init", "cache"), OPTIONAL)
CACHE_TYPES = {"seconds": NUMBER, "device": str}
NO_CACHE = {"seconds": 0.0, "device": ""}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of every table: its runs, its name, what it compares with, and where it goes."""
    files = {"type": Path, "metavar": "FILE"}
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
    """The runs that the flags of :func:`add_arguments` name, as :func:`read_runs` gives them.

    Raises:
        UserError: also when there are not as many scores as trainings.
    """
    if len(args.scores) != len(args.training):
        raise UserError(f"{len(args.scores)} --scores and {len(args.training)} --training; give both files of each run")
    return read_runs(list(zip(args.scores, args.training, strict=True)), args.caches)


def read_json(path: Path, types: Mapping[str, Any]) -> dict[str, Any]:
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
    return typed(path, content, types)


def typed(path: Path, content: Any, types: Mapping[str, Any], inside: str = "") -> dict[str, Any]:
    """The keys in ``types`` of a JSON object out of ``path``; ``inside`` is the dotted place of the object in it.

    Raises:
        UserError: a key is missing or of another type.
    """
    for key, kind in types.items():
        present = isinstance(content, dict) and key in content
        # bool is an int to isinstance
        if not present or isinstance(content[key], bool) or not isinstance(content[key], kind):
            name = inside + key
            raise UserError(
                f"{path}: {name!r} is missing or of a wrong type; delete it and run the step that writes it"
            )
    return {key: content[key] for key in types}


def read_runs(pairs: Sequence[tuple[Path, Path]], summaries: Sequence[Path] = ()) -> pd.DataFrame:
    """Read one run, that is one system with one seed, a row.

    Args:
        pairs: ``scores.json`` and ``train.json`` of each run.
        summaries: of the teacher caches; ``X/cache/top32.json`` is that of the cache ``X/cache/top32``.

    Returns:
        What both files say, and ``folder`` (of the run), ``cache`` (folder; empty for none), ``cache_seconds`` (of the
        whole cache, whoever reads it; 0 for none) and ``cache_device``. Folders are absolute, so that they can be
        compared.

    Raises:
        UserError: a file is not as expected, a run's cache has no summary, two runs are of the same system and seed, or
            the runs cannot be compared.
    """
    caches = {"": NO_CACHE}
    caches |= {os.path.abspath(path.with_suffix("")): read_json(path, CACHE_TYPES) for path in summaries}
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
        train |= {key: train[key] or "-" for key in ("teacher", "init", "teacher_mode")}
        rows.append(
            {
                **train,
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


def read_scores(path: Path) -> dict[str, Any]:
    """The checked content of a ``scores.json``.

    Raises:
        UserError: it is not as expected, or a metric has no signature.
    """
    scores = read_json(path, SCORE_TYPES)
    missing = [metric for metric in METRICS if metric not in scores["signatures"]]
    if missing:
        raise UserError(f"{path}: has no signature for {', '.join(missing)}; score again")
    return scores


def read_training(path: Path) -> dict[str, Any]:
    """The checked content of a ``train.json``.

    Raises:
        UserError: it is not as expected, or its ``teacher_mode`` and its ``inputs`` disagree.
    """
    train = read_json(path, TRAIN_TYPES)
    train["inputs"] = inputs = typed(path, train["inputs"], INPUT_TYPES, "inputs.")
    mode = train["teacher_mode"]
    if (mode is not None, mode == "cached") != (inputs["teacher"] is not None, inputs["cache"] is not None):
        raise UserError(
            f"{path}: teacher_mode {mode!r} does not fit inputs.teacher {inputs['teacher']!r} and "
            f"inputs.cache {inputs['cache']!r}; delete it and train again"
        )
    return train


def check_seeds(runs: pd.DataFrame) -> None:
    """See that the runs of one system are alike but for their seeds.

    Raises:
        UserError: they are not, or two have one seed.
    """
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
    """Turn the columns of numbers into text with so many ``decimals``; a missing value is blank."""

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
    """Text as a Markdown table, the ``numeric`` columns to the right."""
    align = ["right" if column in numeric else "left" for column in text.columns]
    return text.to_markdown(index=False, disable_numparse=True, colalign=align)
