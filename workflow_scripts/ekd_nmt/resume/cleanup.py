"""Finding and removing what killed steps have left on the disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path


def temporaries(root: Path, excluded: Collection[Path] = ()) -> Iterator[Path]:
    """The half-written files and folders, ``.*.tmp``, below a folder.

    Args:
        root: where to look; links below it are not followed.
        excluded: folders that are skipped.
    """
    for folder, names, files in os.walk(root):
        here = Path(folder)
        found = [name for name in (*names, *files) if name.startswith(".") and name.endswith(".tmp")]
        yield from (here / name for name in sorted(found))
        names[:] = sorted(name for name in names if name not in found and here / name not in excluded)


def remove(path: Path) -> None:
    """Delete a file, a link or a folder with all in it.

    A folder is renamed first, so that a kill leaves no half of it under its name.
    """
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    if not path.name.endswith(".tmp"):
        path = path.rename(path.with_name(f".{path.name}.removed.tmp"))
    shutil.rmtree(path)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; links have none."""
    if path.is_symlink() or not path.exists():
        return 0
    if not path.is_dir():
        return path.stat().st_size
    files = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
    return sum(file.lstat().st_size for file in files if not file.is_symlink())
