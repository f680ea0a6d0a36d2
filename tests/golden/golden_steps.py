"""How the golden tests call each step: a registry, filled in the order of the pipeline, and calls of commands.

A step is a function named like its command. It works in the current folder, which holds what the steps it needs have
written, and returns what is recorded of its outputs. Times, paths, hashes of models and versions are left out, because
they differ between runs or machines.
"""

import hashlib
import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

LONGEST_TEXT = 4000  # bytes; of longer outputs the SHA-256 is recorded

# Text must be the same on every machine; of numbers, see recording.TOLERANCES.
Outputs = dict[str, str | list[float]]


@dataclass(frozen=True)
class Step:
    """``needs`` are the steps whose outputs it reads."""

    run: Callable[[], Outputs]
    needs: tuple[str, ...] = ()


STEPS: dict[str, Step] = {}


def step(*needs: str) -> Callable[[Callable[[], Outputs]], Callable[[], Outputs]]:
    """Register a function as the step of its name."""

    def register(function: Callable[[], Outputs]) -> Callable[[], Outputs]:
        STEPS[function.__name__] = Step(function, needs)
        return function

    return register


def call(command: str, *words: object, **flags: object) -> None:
    """Call a command in this process: ``words`` as they are, and each flag with its value or values."""
    arguments = [f"{command}.py", *map(str, words)]
    for name, value in flags.items():
        values = value if isinstance(value, (list, tuple)) else [value]
        arguments += [f"--{name.replace('_', '-')}", *map(str, values)]
    # commands set signal handlers for the rest of their process
    with mock.patch.object(sys, "argv", arguments), mock.patch("signal.signal"):
        importlib.import_module(command).main()


def write(path: str, text: str) -> str:
    """Write a file and return its path."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(text.encode())
    return path


def write_json(path: str, content: object) -> str:
    """Write a JSON file and return its path."""
    return write(path, json.dumps(content))


def read_json(path: str | Path) -> Any:
    """The content of a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def contents(*paths: str | Path) -> Outputs:
    """The files by path: JSON without its layout, text, or the SHA-256 of what is long or binary."""
    return {str(path): _content(Path(path)) for path in paths}


def _content(path: Path) -> str:
    if path.suffix == ".json":
        return json.dumps(read_json(path), ensure_ascii=False)
    content = path.read_bytes()
    if path.suffix not in (".bin", ".idx") and len(content) <= LONGEST_TEXT:
        return content.decode()
    return f"{len(content)} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}"
