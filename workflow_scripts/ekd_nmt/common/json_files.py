"""Reading JSON files that other steps have written: validated, so that a damaged file is an error with a name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from ekd_nmt.common.errors import UserError

T = TypeVar("T")
FIX = "delete it and run the step that writes it"


def read_json(path: Path, kind: type[T], fix: str = FIX) -> T:
    """Read a JSON file and check it against a type.

    Args:
        path: the file.
        kind: what it must hold: a pydantic model, a ``TypedDict`` of typing_extensions, ``dict[str, int]`` …
            Keys that the type does not name are dropped. Types are strict: ``"1"`` and ``true`` are not numbers.
        fix: what to do if it holds something else.

    Raises:
        UserError: the file cannot be read, is not JSON, or is not of this type.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); run the step that writes it") from error
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); {fix}") from error
    try:
        return TypeAdapter(kind).validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "content"
        raise UserError(f"{path}: {key!r} is missing or of a wrong type; {fix}") from error


def read_json_if_valid(path: Path, kind: type[T]) -> T | None:
    """Read a JSON file as :func:`read_json` does; None if that would fail."""
    try:
        return read_json(path, kind)
    except UserError:
        return None
