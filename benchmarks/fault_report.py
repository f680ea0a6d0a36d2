"""What benchmarks/faults.py compares and counts, and its report."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

from fault_kinds import KINDS, title
from fault_scene import GRACE, Fault
from tables import describe_machine, rows

from ekd_nmt.common.files import sha256

COMPARED = {  # pattern below results/{experiment} → in words
    "*/seed*/model.pt": "models",
    "*/seed*/test.hyp.jsonl": "files of hypotheses",
    "*/seed*/scores.json": "files of scores",
    "*/seed*/cache/*/meta.json": "caches (by their meta.json, which has the hash of every shard)",
    "data/bin/*": "files of the binarised corpus",
}
TABLE = "bleu_table.csv"
TIMES = ("train_seconds", "teacher_seconds", "tokens_per_second")
OTHER = "other"  # a start of a training that no fault on its own process or job explains


def prints(folder: Path) -> dict[str, str]:
    """Path below results/ → SHA-256 of each file that must be the same however a run was disturbed.

    Of the table, the columns of times are left out.
    """
    results = folder / "results"
    found = {path: sha256(path) for pattern in COMPARED for path in results.glob(f"*/{pattern}")}
    for path in results.glob(f"**/{TABLE}"):
        with path.open(encoding="utf-8", newline="") as handle:
            table = list(csv.reader(handle))
        kept = [number for number, name in enumerate(table[0]) if name not in TIMES]
        text = io.StringIO()
        csv.writer(text).writerows([row[number] for number in kept] for row in table)
        found[path] = hashlib.sha256(text.getvalue().encode()).hexdigest()
    return {str(path.relative_to(results)): digest for path, digest in sorted(found.items())}


def differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """How the files of a run differ from those expected, a line each."""
    if not expected:
        return ["the undisturbed run has made nothing that could be compared"]
    told = [
        f"results/{path} {'is missing' if path not in found else 'differs'}"
        for path, digest in expected.items()
        if found.get(path) != digest
    ]
    return told + [f"results/{path} is there, but not after the undisturbed run" for path in found.keys() - expected]


def attempts_of(folder: Path, run: int) -> list[dict[str, Any]]:
    """Every start of every training of a run, in order: what attempts.jsonl tells, ``run``, ``folder``, ``number``."""
    found = []
    for path in sorted((folder / "results").glob("*/*/seed*/progress/*/attempts.jsonl")):
        whole = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                whole.append(json.loads(line))
            except ValueError:  # cut off by a kill
                continue
        place = str(path.parent.relative_to(folder / "results"))
        found += [each | {"run": run, "folder": place, "number": number} for number, each in enumerate(whole, 1)]
    return found


def attribute(attempts: list[dict[str, Any]], faults: list[Fault]) -> None:
    """Enter into each attempt its ``cause``: the kind of the fault that ended the one before it, or :data:`OTHER`.

    That is the last fault between the two that hit the process or the job of the one before. First attempts have None.
    """
    before: dict[tuple[int, str], dict[str, Any]] = {}
    for each in attempts:
        last = before.get((each["run"], each["folder"]))
        before[each["run"], each["folder"]] = each
        each["cause"] = None
        if last is not None:
            causes = [
                fault.planned.kind
                for fault in faults
                if last["time"] <= fault.ended
                and fault.began <= each["time"]
                and (last["pid"] in fault.hit.pids or last["job"] in fault.hit.jobs)
            ]
            each["cause"] = causes[-1] if causes else OTHER


def markdown(result: dict[str, Any]) -> str:
    """The report."""
    attempts, interval = result["attempts"], result["interval"]
    again = [each for each in attempts if each["cause"] is not None]
    most = max((each["repeated"] for each in again), default=0)
    where = "processes of one machine" if result["local"] else "a SLURM cluster of one node, with the profile of slurm/"
    counts = Counter(_what(path) for path in result["compared"])
    compared = ", ".join(f"{number} {what}" for what, number in counts.items())
    lines = [
        f"# {len(result['faults'])} faults",
        f"`{result['command']}`",
        describe_machine(),
        f"Faults from seed {result['seed']}, {result['mean']:g} s apart on average, on {where}; a training has had at "
        f"least {GRACE:g} s for its updates when a fault aims at it. A checkpoint every {interval} updates.",
        _kinds(result, again),
        f"A restart is a start of a training after its first, counted with the fault that ended the one before "
        f"({OTHER}: none hit its own process or job). Of {len(again)} restarts, {_resumed(again)} went on from a "
        f"checkpoint and {len(again) - _resumed(again)} had none yet. Updates made again: "
        f"{sum(each['repeated'] for each in again)} in all, {most} at most after one fault; the interval is "
        f"{interval}.",
        f"Undisturbed: {result['undisturbed_seconds']:.0f} s on this machine without SLURM. Disturbed: "
        f"{result['disturbed_seconds']:.0f} s, {result['runs']} time{'s' if result['runs'] > 1 else ''} the workflow.",
        f"Compared by SHA-256: {compared}.",
        _verdict(result),
    ]
    if result["unplanned"]:
        told = "\n".join(f"- {line}" for line in result["unplanned"])
        lines.append(f"Controllers that ended by themselves and were started again:\n\n{told}")
    lines.append(_sequence(result))
    return "\n\n".join(lines) + "\n"


def _what(path: str) -> str:
    below = Path(path.partition("/")[2])
    return next((words for pattern, words in COMPARED.items() if below.match(pattern)), "tables (without times)")


def _resumed(attempts: list[dict[str, Any]]) -> int:
    return sum(each["update"] > 0 for each in attempts)


def _verdict(result: dict[str, Any]) -> str:
    if not result["problems"]:
        return "All were identical to those of the undisturbed run."
    return "**Not as it should be:**\n\n" + "\n".join(f"- {line}" for line in result["problems"])


def _kinds(result: dict[str, Any], again: list[dict[str, Any]]) -> str:
    head = ["fault", "done", "restarts", "from a checkpoint", "updates repeated", "at most"]
    body = []
    for kind in [*KINDS, OTHER]:
        done = sum(fault["planned"]["kind"] == kind for fault in result["faults"])
        own = [each for each in again if each["cause"] == kind]
        if done or own:
            repeated = [each["repeated"] for each in own]
            numbers = [done, len(own), _resumed(own), sum(repeated), max(repeated, default=0)]
            body.append([title(kind) if kind in KINDS else kind, *map(str, numbers)])
    return rows(head, body)


def _sequence(result: dict[str, Any]) -> str:
    body = [
        [
            fault["planned"]["kind"],
            str(number),
            str(fault["planned"]["number"]),
            f"{fault['planned']['wait']:.1f}",
            f"{fault['planned']['rank']:.3f}",
            f"{fault['planned']['detail']:.3f}",
            f"{fault['began'] - result['started']:.0f}",
            fault["hit"]["what"],
        ]
        for number, fault in enumerate(result["faults"], 1)
    ]
    head = ["kind", "fault", "drawn as", "wait, s", "rank", "detail", "at, s", "hit"]
    began = time.strftime("%Y-%m-%d %H:%M", time.localtime(result["started"]))
    return f"## In the order in which they were done, from {began} on\n\n{rows(head, body)}"
