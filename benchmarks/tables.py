"""Results as Markdown."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import statistics
from pathlib import Path
from typing import Any

from material import Sizes
from steps import Setting, Timing


def describe_machine() -> str:
    """One line: processor, load and versions."""
    name = platform.machine()
    if (details := Path("/proc/cpuinfo")).exists():
        lines = (line.partition(":") for line in details.read_text(encoding="utf-8").splitlines())
        name = next((value.strip() for key, _, value in lines if key.strip() == "model name"), name)
    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    versions = f"Python {platform.python_version()}, torch {importlib.metadata.version('torch')}"
    return f"{name}, {os.cpu_count()} cores{load}; {versions}."


def describe_sizes(sizes: Sizes) -> str:
    """One line: sizes of corpus and models."""
    return (
        f"Random text and untrained weights. Student of embed dim {sizes.embed_dim}, teachers of "
        f"{' and '.join(map(str, sizes.teachers))}; FFN {sizes.ffn_dim}, {sizes.heads} heads, {sizes.layers} + "
        f"{sizes.layers} layers; dictionaries of {sizes.source_symbols:,} and {sizes.target_symbols:,} symbols; "
        f"{sizes.sentences:,} sentences."
    )


def rows(head: list[str], body: list[list[str]]) -> str:
    """A Markdown table with the first column left-aligned, the others right-aligned."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def label(name: str) -> str:
    """A variant's name for reading."""
    return re.sub(r"(\d+)", r" \1", name)


def ratios(timing: Timing, fast: str, slow: str) -> list[float]:
    """Speed of one variant relative to another, in each round."""
    return [theirs / own for own, theirs in zip(timing.seconds[fast], timing.seconds[slow], strict=True)]


def spread(values: list[float]) -> list[str]:
    """Median, minimum and maximum."""
    return [f"{value:.2f}" for value in (statistics.median(values), min(values), max(values))]


def steps_tables(setting: Setting, timing: Timing) -> str:
    """Speeds and their main ratios."""
    on_gpu = bool(timing.memory)
    head = ["variant", "target tokens/s", "/ plain: median", "min", "max", *(["peak GPU memory, MB"] if on_gpu else [])]
    body = []
    for name, seconds in timing.seconds.items():
        speed = f"{timing.tokens / statistics.median(seconds):,.0f}"
        memory = [f"{timing.memory[name]:,.0f}"] if on_gpu else []
        body.append([label(name), speed, *spread(ratios(timing, name, "plain")), *memory])
    dims = sorted((int(name[6:]) for name in timing.seconds if name.startswith("cached")), reverse=True)
    pairs = [(f"cached{dim}", f"{other}{dim}") for other in ("online", "usual") for dim in dims] + [
        ("plain", "fairseq")
    ]
    compared = [[f"{label(fast)} / {label(slow)}", *spread(ratios(timing, fast, slow))] for fast, slow in pairs]
    text = (
        f"**Steps** on {timing.device}, {setting.precision}, max-tokens {setting.max_tokens}, k {setting.k}, threads "
        f"{setting.threads}: {setting.rounds} rounds of {setting.batches} batches, {timing.tokens:,} target tokens, "
        f"after {setting.warm_up} not timed.\n\n"
    )
    text += f"{rows(head, body)}\n\n{rows(['ratio of speeds', 'median', 'min', 'max'], compared)}"
    skipped = [f"{label(name)} {count}" for name, count in timing.skipped.items() if count]
    return text + (f"\n\nUpdates skipped because of fp16's loss scale: {', '.join(skipped)}." if skipped else "")


def caching_table(caches: dict[int, dict[str, Any]]) -> str:
    """Speed and size of the caches."""
    body = [
        [
            str(dim),
            f"{s['tokens']:,}",
            f"{s['seconds']:.1f}",
            f"{s['tokens_per_second']:,.0f}",
            f"{s['bytes'] / 1e6:.1f}",
        ]
        for dim, s in caches.items()
    ]
    devices, k = {s["device"] for s in caches.values()}, {str(s["top_k"]) for s in caches.values()}
    title = f"**Caching** on {', '.join(devices)}, k {', '.join(k)}, from the summary of `cache_teacher.py`:"
    return f"{title}\n\n{rows(['teacher', 'target tokens', 'seconds', 'target tokens/s', 'MB'], body)}"
