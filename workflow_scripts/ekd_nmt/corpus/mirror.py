"""Files of a data set that are on this machine: in a mirror folder ``{mirror}/{dataset}/{file}``, or downloaded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from textwrap import fill

from tabulate import tabulate

from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import atomic_write
from ekd_nmt.common.signals import ignore_stop_signals
from ekd_nmt.config.manifest import DataFile, Dataset, mismatch

WIDTH = 120  # columns of running text in the table


def check_mirror(mirror: Path) -> None:
    """Raise :class:`UserError` if the mirror is not a readable folder."""
    if not mirror.is_dir() or not os.access(mirror, os.R_OK | os.X_OK):
        raise UserError(f"mirror {mirror}: not a readable folder; fix EKD_DATA_MIRROR or data.mirror, or leave it out")


def copy_from_mirror(mirror: Path, dataset: str, entry: DataFile, output: Path) -> Path | None:
    """Copy the file from the mirror folder, verified; return its path there, or ``None`` if it is not there.

    Raises:
        UserError: the mirror is not a readable folder, or its copy does not match the manifest.
    """
    check_mirror(mirror)
    path = mirror / dataset / entry.name
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: is not a file; put the file there, or remove it to download the file instead")
        if not path.is_file():
            return None
        if (problem := mismatch(path, entry)) is not None:
            raise UserError(f"{path}: {problem}; replace this copy, or remove it to download the file instead")
        with open(path, "rb") as source, atomic_write(output, "wb") as target:
            shutil.copyfileobj(source, target)
            ignore_stop_signals()
    except OSError as error:
        raise UserError(
            f"{path}: cannot be copied to {output} ({error.strerror}); check permissions and disk"
        ) from error
    return path


def missing(dataset: str, files: Iterable[DataFile], folder: Path, mirror: Path | None) -> list[str]:
    """Names of the files that are neither in the mirror nor in ``folder``, the downloads of the data set."""
    places = [folder] if mirror is None else [folder, mirror / dataset]
    return [entry.name for entry in files if not any(os.path.isfile(place / entry.name) for place in places)]


def table(dataset: str, content: Dataset, folder: Path, mirror: Path | None) -> str:
    """The files of a data set, where they are, and its terms of use, as a table.

    Raises:
        UserError: the mirror is not a readable folder.
    """
    if mirror is not None:
        check_mirror(mirror)

    def state(entry: DataFile) -> str:
        if mirror is not None and os.path.isfile(mirror / dataset / entry.name):
            return "in mirror"
        return f"in {folder}" if os.path.isfile(folder / entry.name) else "missing"

    rows = [(entry.name, entry.bytes or "?", state(entry), entry.url) for entry in content.files]
    listed = tabulate(
        rows,
        ("file", "bytes", "present", "url"),
        "plain",
        disable_numparse=True,
        colalign=("left", "right", "left", "left") if rows else None,
    )
    terms = {"licence": content.licence, "citation": content.citation, "home": content.home}
    notes = [fill(f"{key}: {text}", WIDTH, subsequent_indent="  ") for key, text in terms.items()]
    return "\n".join([listed, "", *notes])
