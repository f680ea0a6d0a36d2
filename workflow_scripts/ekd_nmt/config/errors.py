"""One-line messages about mistakes in the configuration: key, value and fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from pydantic import ValidationError

from ekd_nmt.config.models import Config

RENAMED_KEYS = {  # (section, old key): new key
    ("distillation", "teacher"): "teacher_mode",
    ("distillation", "k"): "top_k",
    ("systems", "k"): "top_k",
    ("systems", "budget_of"): "match_updates_of",
    ("checkpoints", "updates"): "every_updates",
    ("checkpoints", "minutes"): "every_minutes",
    ("cluster", "gpu"): "request_gpus",
}
RENAMED_TAILS = {"spread": "redistribute", "event": "bucket"}


def validation_message(error: ValidationError) -> str:
    """All mistakes of a validation, in one line."""
    return " | ".join(map(_message, error.errors()))


def suggestion(name: object, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the closest known name, or all of them."""
    known = list(known)
    if close := difflib.get_close_matches(str(name), known, n=1):
        return f"; did you mean {close[0]!r}?"
    return f"; use one of {', '.join(known)}" if known else ""


def _message(error: Mapping[str, Any]) -> str:
    location = [step for step in error["loc"] if step != "[key]"]  # pydantic marks a key that is itself wrong
    key = ".".join(map(str, location)) or "configuration"
    kind, value = error["type"], error["input"]
    message = error["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if kind == "extra_forbidden":
        if (new := RENAMED_KEYS.get((location[0], location[-1]))) is not None:
            return f"{key}: is now called {new}; rename the key"
        return f"{key}: unknown key{suggestion(location[-1], known_keys(location[:-1]))}"
    if location[-1:] == ["tail"] and isinstance(value, str) and value in RENAMED_TAILS:
        return f"{key}: {value!r} is now called {RENAMED_TAILS[value]!r}; rename the value"
    if kind == "missing":
        return f"{key}: missing; add it"
    if kind == "string_pattern_mismatch":
        return f"{key}: {value!r} cannot name a folder; use letters, digits, _ and -, starting with a letter or digit"
    if kind == "string_type" and isinstance(value, int | float):
        return f"{key}: {value!r} is a number in YAML, expected text; put it in quotes"
    if value is None:
        return f"{key}: is empty; give it a value or remove the line"
    if kind == "too_short" and not value:
        return f"{key}: is empty; name at least one"
    if kind in ("model_type", "dict_type"):
        return f"{key}: {value!r} is a value, expected keys; write them below it, indented"
    if isinstance(value, Mapping):
        return f"{key}: {message}"
    return f"{key}: {value!r} is not valid: {message}"


def known_keys(location: Sequence[object]) -> list[str]:
    """The keys of the section at a location; none where users choose the names."""
    place: Any = Config
    for step in location:
        if hasattr(place, "model_fields"):
            field = place.model_fields.get(str(step))
            place = None if field is None else field.annotation
            if type(None) in get_args(place):  # optional, as all overrides of a system are
                place = get_args(place)[0]
        else:  # dict[Name, Model]: every name has a Model
            place = (get_args(place) or (None,))[-1]
    return list(getattr(place, "model_fields", {}))
