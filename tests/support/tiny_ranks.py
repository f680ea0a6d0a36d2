"""Ranks: their processes, and trainings that record their losses, in this process or in several under torchrun."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from ekd_nmt.common.log_filters import quiet
from tiny_training import TIMES


def children(process: int) -> list[int]:
    """The processes that a process has started, on Linux."""
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def train(resolved: dict, corpus: str, folder: str, teacher: str | None = None) -> dict[str, Any]:
    """Train a system on the CPU.

    Returns:
        ``losses``: nats a target token, one an update, over all ranks; ``batches`` an epoch for each rank, empty ones
        included; ``tokens`` trained on; the ``history`` without times.
    """
    from kd.setup import prepare, publish_model

    driver = prepare(
        resolved,
        data=Path(corpus),
        progress=Path(folder),
        seed=1,
        teacher=teacher and Path(teacher),
        cpu=True,
        say=lambda line: None,
    )
    losses, reduce_metrics = [], driver.task.reduce_metrics

    def keep(outputs: list[dict[str, Any]], criterion: Any) -> None:
        if criterion.training:
            losses.append(float(sum(log["loss"] for log in outputs) / sum(log["ntokens"] for log in outputs)))
        reduce_metrics(outputs, criterion)

    driver.task.reduce_metrics = keep
    training = resolved["training"]
    validation = training["validation"]
    driver.run(training["max_epoch"], training["max_update"], validation["interval"], validation["patience"])
    if driver.ranks.first:
        publish_model(driver, Path(folder) / "model.pt")
    return {
        "losses": losses,
        "batches": len(driver.batches),
        "tokens": driver.target_tokens,
        "history": [{key: value for key, value in record.items() if key not in TIMES} for record in driver.history],
    }


if __name__ == "__main__":
    quiet()
    *runs, output = sys.argv[1:]
    results = [train(**json.loads(run)) for run in runs]
    if os.environ["RANK"] == "0":
        Path(output).write_text(json.dumps(results), encoding="utf-8")
