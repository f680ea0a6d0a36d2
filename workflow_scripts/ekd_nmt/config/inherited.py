"""Values of the default experiment that another experiment inherits without naming them.

Snakemake merges every configuration over config/config.yaml, whose sizes are those of a small corpus. Two things may be
inherited: the roles of the systems, which all experiments share, and what equals the documented default anyway.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ekd_nmt.config.models import Config

ROLES = ("model", "teacher", "init", "match_updates_of")


def inherited(default: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """The inherited keys, dotted; a section that is inherited as a whole is one entry.

    Args:
        default: config/config.yaml.
        given: what is merged over it. If it names no other experiment, it is a variant of the default one.
    """
    if given.get("experiment") in (None, default["experiment"]):
        return []
    usual = Config.model_construct(experiment="", models={}, systems={}).model_dump(mode="json")
    corpus = (given.get("data") or {}).get("corpus", default["data"]["corpus"])
    return [
        ".".join(path)
        for path in _inherited(default, given, usual)
        if path[:2] != ("data", "synthetic") or corpus == "synthetic"
    ]


def _inherited(default: Mapping[str, Any], given: Mapping[str, Any], usual: Any) -> Iterator[tuple[str, ...]]:
    """Paths of the values that ``given`` does not replace and that differ from ``usual``."""
    for key, value in default.items():
        other = usual.get(key) if isinstance(usual, Mapping) else None
        if not isinstance(value, Mapping):
            if key not in given and key not in ROLES and value != other:
                yield (key,)
        elif isinstance(own := given.get(key, {}), Mapping):
            below = list(_inherited(value, own, other))
            whole = key not in given and below == [(child,) for child in value]
            yield from [(key,)] if whole else ((key, *path) for path in below)
