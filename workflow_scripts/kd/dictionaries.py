"""Checks that a model and a binarised corpus have the same dictionaries."""

from __future__ import annotations

import hashlib
from typing import Any

from ekd_nmt.common.errors import UserError
from kd.fairseq_api import Dictionary, FairseqTask


def dictionary_fingerprint(dictionary: Dictionary) -> str:
    """Hexadecimal SHA-256 of a dictionary's symbols in order, special symbols included, counts left out."""
    return hashlib.sha256("\n".join(dictionary.symbols).encode("utf-8")).hexdigest()


def fingerprints(task: FairseqTask) -> dict[str, str]:
    """Fingerprints of a task's source and target dictionary, as a model file records them."""
    return {
        "source": dictionary_fingerprint(task.source_dictionary),
        "target": dictionary_fingerprint(task.target_dictionary),
    }


def recorded_fingerprints(state: dict[str, Any]) -> dict[str, str]:
    """The fingerprints that a model file records; empty for a model that this workflow did not train."""
    return (state.get("extra_state") or {}).get("dictionaries") or {}


def check_dictionaries(state: dict[str, Any], task: FairseqTask, *, model: str, other: str, fix: str) -> None:
    """Compare a model's dictionaries with the task's: by size, and by fingerprint if the model file records it.

    A model with other symbols, or the same ones in another order, would run without an error and produce noise.

    Args:
        state: a fairseq checkpoint.
        task: has the dictionaries to compare with.
        model: how the error names the model.
        other: how it names the owner of the task's dictionaries.
        fix: what to do.

    Raises:
        UserError: they differ.
    """
    recorded, own = recorded_fingerprints(state), fingerprints(task)
    sides = {"source": ("encoder", task.source_dictionary), "target": ("decoder", task.target_dictionary)}
    for side, (module, dictionary) in sides.items():
        embedding = state["model"].get(f"{module}.embed_tokens.weight")
        size = len(dictionary) if embedding is None else embedding.size(0)
        if size != len(dictionary):
            difference = f"has {size:,} symbols, {other} has {len(dictionary):,}"
        elif recorded.get(side, own[side]) != own[side]:
            difference = f"has {size:,} symbols, as {other}, but other symbols or another order"
        else:
            continue
        raise UserError(f"{model}: its {side} dictionary {difference}; {fix}")
