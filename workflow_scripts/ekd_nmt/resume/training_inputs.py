"""The files that a training or a teacher's cache is made from: their hashes are part of the key of unfinished work."""

from __future__ import annotations

from pathlib import Path

from ekd_nmt.common.errors import UserError


def training_inputs(
    data: Path, teacher: Path | None, cache: Path | None = None, init: Path | None = None
) -> list[Path]:
    """Teacher, its cache's meta.json (which has the hash of all its files), initial model, dictionaries, training and
    validation set.

    Raises:
        UserError: one of them is missing.
    """
    corpus = [sorted(data.glob(pattern)) for pattern in ("dict.*", "train.*", "valid.*")]
    if not all(corpus):
        raise UserError(f"{data}: no binarised corpus there; run workflow_scripts/binarize.py first")
    for role, path in (("teacher", teacher), ("init", init)):
        if path is not None and not path.is_file():
            raise UserError(f"{path}: the {role} model is missing; train it first (snakemake {path})")
    meta = None if cache is None else cache / "meta.json"
    if meta is not None and not meta.is_file():
        raise UserError(f"{cache}: is no finished teacher cache; delete {cache} and run again to make it")
    models = [path for path in (teacher, meta, init) if path is not None]
    return [*models, *(path for files in corpus for path in files)]
