"""Trainings without the command line, stopped and killed where a test needs it."""

import copy
from pathlib import Path
from typing import Any

import torch

from kd.setup import publish_model
from kd.training_loop import TrainingLoop
from tiny_training import TIMES, UPDATES_AN_EPOCH

EPOCHS = 2
UPDATES = EPOCHS * UPDATES_AN_EPOCH


class Killed(BaseException):
    """Stands in for SIGKILL: the training loop must not handle it."""


def kill(*_: Any) -> None:
    raise Killed


def start(
    configuration: Any, folder: Path, before_saving=lambda: None, micro_batches: int = 1, **checkpoint: Any
) -> TrainingLoop:
    """Start or resume a training with its checkpoints in a folder; ``log`` has the lines of its log."""
    cfg = copy.deepcopy(configuration)
    cfg.checkpoint.save_dir = str(folder)
    for key, value in checkpoint.items():
        cfg.checkpoint[key] = value
    lines = []
    loop = TrainingLoop(cfg, lines.append, before_saving=before_saving, micro_batches=micro_batches)
    loop.log = lines
    return loop


def run(loop: TrainingLoop, **changes: int) -> TrainingLoop:
    loop.run(**{"max_epoch": EPOCHS, "max_update": None, "interval": 1, "patience": 0} | changes)
    return loop


def result(loop: TrainingLoop) -> tuple[bytes, list[dict]]:
    """Bytes of the model file, and the history without times."""
    path = loop.folder / "model.pt"
    publish_model(loop, path)
    history = [{key: value for key, value in record.items() if key not in TIMES} for record in loop.history]
    return path.read_bytes(), history


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def call_after(target: Any, method: str, call: int, action: Any) -> None:
    """Call ``action`` after the n-th call of a method; n counts from 1."""
    original, count = getattr(target, method), 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        value = original(*args, **kwargs)
        count += 1
        if count == call:
            action()
        return value

    setattr(target, method, wrapped)
