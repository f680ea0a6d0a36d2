"""Compares the outputs of steps with recorded.json, and records them.

recorded.json has, for each step, its REVISION, a hash of what it read (the recorded outputs of the steps it needs), and
its outputs.
"""

import contextlib
import difflib
import hashlib
import importlib
import json
import re
from pathlib import Path

from golden_steps import STEPS, Outputs

RECORDED = Path(__file__).with_name("recorded.json")
RECORD = ".venv/bin/python -m pytest tests/golden --record"
TOLERANCES = {"float16": 2e-3, "": 1e-4}  # relative, by how the name of the output ends
NEAR_ZERO = 1e-6


class Recording:
    """Runs each step at most once, after those it needs, in one folder."""

    def __init__(self, folder: Path, file: Path = RECORDED):
        self.folder, self.file = folder, file
        self.recorded = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        self._found: dict[str, Outputs] = {}

    def outputs(self, name: str) -> Outputs:
        """What the step writes now."""
        if name not in self._found:
            for needed in STEPS[name].needs:
                self.outputs(needed)
            with contextlib.chdir(self.folder):
                self._found[name] = STEPS[name].run()
        return self._found[name]

    def changed_before(self, name: str) -> list[str]:
        """The steps from which this one reads, directly or not, that fail or whose output is not the recorded one."""
        needed = STEPS[name].needs
        earlier = [step for each in needed for step in self.changed_before(each)]
        return list(dict.fromkeys([*earlier, *(each for each in needed if self._is_changed(each))]))

    def check(self, name: str) -> str | None:
        """What is wrong with the output of a step or with its recording; call it if nothing has changed before."""
        recorded = self.recorded.get(name)
        if recorded is None or recorded | self._state(name) != recorded:
            return f"{name}: recorded with another REVISION or input; record again: {RECORD}"
        return self._changed(name)

    def record(self, name: str) -> str | None:
        """Record a step; returns why not if its output has changed, but neither its REVISION nor its input."""
        before, state = self.recorded.get(name), self._state(name)
        differ = before is None or self._differences(name)
        if before is not None and differ and before | state == before:
            return self._changed(name)
        # numbers that differ by rounding stay as they are
        self.recorded[name] = state | {"outputs": self.outputs(name) if differ else before["outputs"]}
        steps = {step: self.recorded[step] for step in STEPS if step in self.recorded}
        text = json.dumps(steps, indent=1, ensure_ascii=False)
        one_line_lists = re.sub(r"\n\s+(?=[-\d\]])", " ", text)
        self.file.write_text(one_line_lists + "\n", encoding="utf-8")
        return None

    def _is_changed(self, name: str) -> bool:
        try:
            return bool(self._differences(name))
        except Exception:  # reported by the step's own test
            return True

    def _state(self, name: str) -> dict[str, int | str]:
        inputs = [self.recorded.get(needed, {}).get("outputs") for needed in STEPS[name].needs]
        digest = hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:16]
        return {"revision": current_revision(name), "inputs": digest}

    def _changed(self, name: str) -> str | None:
        found = self._differences(name)
        return "\n".join([f"output changed: raise REVISION of {name}, or restore it", *found]) if found else None

    def _differences(self, name: str) -> list[str]:
        return differences(self.recorded.get(name, {}).get("outputs", {}), self.outputs(name))


def current_revision(command: str) -> int:
    """The REVISION that a command has now."""
    return importlib.import_module(command).REVISION


def differences(expected: Outputs, found: Outputs) -> list[str]:
    """A message for each output that is not the expected one."""
    messages = [f"{key}: is {where} only" for key, where in _unpaired(expected, found)]
    for key in sorted(expected.keys() & found.keys()):
        old, new = expected[key], found[key]
        if isinstance(old, list) and isinstance(new, list):
            tolerance = next(value for end, value in TOLERANCES.items() if key.endswith(end))
            if len(old) != len(new) or any(not _close(*pair, tolerance) for pair in zip(old, new, strict=True)):
                messages.append(f"{key}:\n  expected {old}\n  found    {new}")
        elif old != new:
            diff = difflib.unified_diff(*(str(each).splitlines() for each in (old, new)), lineterm="", n=1)
            messages.append("\n  ".join([f"{key} (- expected, + found):", *list(diff)[2:20]]))
    return messages


def _unpaired(expected: Outputs, found: Outputs) -> list[tuple[str, str]]:
    both = expected.keys() ^ found.keys()
    return [(key, "recorded" if key in expected else "found") for key in sorted(both)]


def _close(expected: float, found: float, tolerance: float) -> bool:
    return abs(expected - found) <= max(NEAR_ZERO, tolerance * abs(expected))
