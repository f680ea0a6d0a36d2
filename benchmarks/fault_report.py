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
from fault_target import GRACE, Fault
from tables import describe_machine, rows

from ekd_nmt.common.files import sha256

COMPARED = {  # pattern below results/{experiment} → description
    "*/seed*/model.pt": "models",
    "*/seed*/test.hyp.jsonl": "files of hypotheses",
    "*/seed*/scores.json": "files of scores",
    "*/seed*/cache/*/meta.json": "teacher caches (meta.json, which has the hash of every shard)",
    "data/bin/*": "files of the binarised corpus",
}
TABLE = "bleu_table.csv"
TIMES = ("train_seconds", "teacher_seconds", "tokens_per_second")
OTHER = "other"  # the cause of a restart that no fault on its own process or job explains


def digests(folder: Path) -> dict[str, str]:
    """Path below results/ → SHA-256 of each file that no fault may change; the table without its columns of times."""
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
    """The differences between the files of a run and the expected ones, one line each."""
    if not expected:
        return ["the uninterrupted run has no files to compare"]
    found_differences = [
        f"results/{path} {'is missing' if path not in found else 'differs'}"
        for path, digest in expected.items()
        if found.get(path) != digest
    ]
    return found_differences + [f"results/{path} is not in the uninterrupted run" for path in found.keys() - expected]


def attempts_of(folder: Path, run: int) -> list[dict[str, Any]]:
    """All starts of all trainings, in order: the records of attempts.jsonl with ``run``, ``folder`` and ``number``."""
    found = []
    for path in sorted((folder / "results").glob("*/*/seed*/progress/*/attempts.jsonl")):
        whole = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                whole.append(json.loads(line))
            except ValueError:  # truncated by a kill
                continue
        place = str(path.parent.relative_to(folder / "results"))
        found += [each | {"run": run, "folder": place, "number": number} for number, each in enumerate(whole, 1)]
    return found


def attribute(attempts: list[dict[str, Any]], faults: list[Fault]) -> None:
    """Set each attempt's ``cause``: the kind of the fault that ended the previous attempt, or :data:`OTHER`.

    That is the last fault between the two that hit the process or job of the previous one. First attempts have None.
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
    interval, restarts = result["interval"], [each for each in result["attempts"] if each["cause"] is not None]
    most = max((each["repeated"] for each in restarts), default=0)
    where = "processes of one machine" if result["local"] else "a SLURM cluster of one node, with the profile of slurm/"
    counts = Counter(_what(path) for path in result["compared"])
    compared = ", ".join(f"{number} {what}" for what, number in counts.items())
    lines = [
        f"# {len(result['faults'])} faults",
        f"`{result['command']}`",
        describe_machine(),
        f"Faults from seed {result['seed']}, {result['mean']:g} s apart on average, on {where}; a training is hit "
        f"after at least {GRACE:g} s of updates. A checkpoint every {interval} updates.",
        _kinds(result, restarts),
        f"Restarts of trainings are counted with the fault that ended the previous start ({OTHER}: none hit its own "
        f"process or job). Of {len(restarts)} restarts, {_resumed(restarts)} resumed from a checkpoint and "
        f"{len(restarts) - _resumed(restarts)} had none yet. Repeated updates: "
        f"{sum(each['repeated'] for each in restarts)} in all, at most {most} after one fault; the interval is "
        f"{interval}.",
        f"Without faults: {result['uninterrupted_seconds']:.0f} s on this machine without SLURM. With faults: "
        f"{result['seconds_with_faults']:.0f} s, runs of the workflow: {result['runs']}.",
        f"Compared by SHA-256: {compared}.",
        _verdict(result),
    ]
    if result["unplanned_exits"]:
        exits = "\n".join(f"- {line}" for line in result["unplanned_exits"])
        lines.append(f"Controllers that exited by themselves and were restarted:\n\n{exits}")
    lines.append(_sequence(result))
    return "\n\n".join(lines) + "\n"


def _what(path: str) -> str:
    below = Path(path.partition("/")[2])
    return next(
        (description for pattern, description in COMPARED.items() if below.match(pattern)), "tables (without times)"
    )


def _resumed(attempts: list[dict[str, Any]]) -> int:
    return sum(each["update"] > 0 for each in attempts)


def _verdict(result: dict[str, Any]) -> str:
    if not result["problems"]:
        return "All are identical to those of the uninterrupted run."
    return "**Problems:**\n\n" + "\n".join(f"- {line}" for line in result["problems"])


def _kinds(result: dict[str, Any], restarts: list[dict[str, Any]]) -> str:
    head = ["fault", "injected", "restarts", "from a checkpoint", "repeated updates", "at most"]
    body = []
    for kind in [*KINDS, OTHER]:
        done = sum(fault["planned"]["kind"] == kind for fault in result["faults"])
        own = [each for each in restarts if each["cause"] == kind]
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
    head = ["kind", "fault", "planned as", "wait, s", "rank", "detail", "at, s", "target"]
    began = time.strftime("%Y-%m-%d %H:%M", time.localtime(result["started"]))
    return f"## Sequence, from {began}\n\n{rows(head, body)}"
