"""Mistakes in the configuration, told as key, value and fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from pydantic import ValidationError

from ekd_nmt.config.models import Config


def explain(error: ValidationError) -> str:
    """All mistakes of a validation, in one line."""
    return " | ".join(_explain(entry) for entry in error.errors())


def suggestion(name: object, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the known name that was probably meant, or all of them."""
    known = list(known)
    if close := difflib.get_close_matches(str(name), known, n=1):
        return f"; did you mean {close[0]!r}?"
    return f"; use one of {', '.join(known)}" if known else ""


def _explain(error: Mapping[str, Any]) -> str:
    location = [part for part in error["loc"] if part != "[key]"]  # pydantic's mark of a key that is itself wrong
    key = ".".join(map(str, location)) or "configuration"
    kind, value = error["type"], error["input"]
    message = error["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if kind == "extra_forbidden":
        return f"{key}: unknown key{suggestion(location[-1], keys_at(location[:-1]))}"
    if kind == "missing":
        return f"{key}: missing; add it"
    if kind == "string_pattern_mismatch":
        return f"{key}: {value!r} cannot name a folder; use letters, digits, _ and -, a letter or digit first"
    if kind == "string_type" and isinstance(value, int | float):
        return f"{key}: {value!r} is a number to YAML and a text belongs here; put it in quotes"
    if value is None:
        return f"{key}: is empty; give it a value or remove the line"
    if kind == "too_short" and not value:
        return f"{key}: is empty; name at least one"
    if kind in ("model_type", "dict_type"):
        return f"{key}: {value!r} is a value and keys belong here; write them below it, indented"
    if isinstance(value, Mapping):
        return f"{key}: {message}"
    return f"{key}: {value!r} is not valid: {message}"


def keys_at(location: Sequence[object]) -> list[str]:
    """The keys that the configuration knows at a place; none where a user chooses the names."""
    place: Any = Config
    for part in location:
        if hasattr(place, "model_fields"):
            field = place.model_fields.get(str(part))
            place = None if field is None else field.annotation
            if type(None) in get_args(place):  # may be left out, as all that a system can override
                place = get_args(place)[0]
        else:  # dict[Name, Model]: under any name comes a Model
            place = (get_args(place) or (None,))[-1]
    return list(getattr(place, "model_fields", {}))
