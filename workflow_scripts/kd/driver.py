"""The training loop: fairseq's Trainer, driven so that a run can be stopped anywhere and goes on as if it had not been.

fairseq's own command-line loop keeps the state of early stopping in function attributes, cannot be asked to save at
the next update, and writes the last checkpoint by a copy that a kill can cut in half. This one drives the same
Trainer (same batches, same random numbers, same losses) and
  - writes every checkpoint under a temporary name and renames it,
  - saves and leaves at the next update after SIGTERM, SIGINT or SIGUSR1,
  - keeps a history in JSON lines, cut back to the checkpoint's update when a run goes on.
"""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq import checkpoint_utils, tasks, utils
from fairseq.data.iterators import GroupedIterator
from fairseq.logging import metrics
from fairseq.trainer import Trainer
from omegaconf import OmegaConf

from cli import read_lines, write_lines

LAST, BEST, HISTORY = "checkpoint_last.pt", "checkpoint_best.pt", "history.jsonl"
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Interrupted(Exception):
    """Training was asked to stop, and has saved its progress."""


class Driver:
    """One training run.

    Args:
        cfg: fairseq's configuration (``convert_namespace_to_omegaconf``).
        say: takes a line for the reader of the log.
        before_loading: called once the model is built and before any weights are loaded; may raise.

    After construction the newest checkpoint of ``cfg.checkpoint.save_dir`` is loaded, if there is one.
    """

    def __init__(
        self,
        cfg: Any,
        say: Callable[[str], None] = print,
        before_loading: Callable[[Driver], None] = lambda driver: None,
    ):
        self.cfg = cfg
        self.say = say
        self.folder = Path(cfg.checkpoint.save_dir)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.maximize = bool(cfg.checkpoint.maximize_best_checkpoint_metric)
        self.metric = cfg.checkpoint.best_checkpoint_metric
        self.stop_signal: int | None = None

        metrics.reset()
        np.random.seed(cfg.common.seed)
        utils.set_torch_seed(cfg.common.seed)
        self.task = tasks.setup_task(cfg.task)
        self.model = self.task.build_model(cfg.model)
        self.task.load_dataset("valid", combine=False, epoch=1)
        self.trainer = Trainer(cfg, self.task, self.model, self.task.build_criterion(cfg.criterion))

        before_loading(self)
        resumed = (self.folder / LAST).exists()
        state, self.batches = checkpoint_utils.load_checkpoint(cfg.checkpoint, self.trainer)
        self.best: float | None = state.get("best") if resumed else None
        self.since_best: int = state.get("since_best", 0) if resumed else 0
        self.history = _read_history(self.folder / HISTORY, self.updates) if resumed else []
        if resumed:
            self.say(f"going on from update {self.updates} ({self.folder / LAST})")

    @property
    def updates(self) -> int:
        """Updates made so far."""
        return self.trainer.get_num_updates()

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of training and validation so far, those before an interruption included."""
        return self.trainer.cumulative_training_time()

    @property
    def device(self) -> str:
        """Where it trains, in words."""
        return torch.cuda.get_device_name() if self.trainer.cuda else "cpu"

    def cfg_as_dict(self) -> dict[str, Any]:
        """fairseq's configuration as plain containers, as its checkpoints hold it."""
        return OmegaConf.to_container(self.cfg, resolve=True, enum_to_str=True)

    @property
    def parameters(self) -> int:
        """Trained parameters; shared embeddings count once."""
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)

    def run(self, max_epoch: int, max_update: int | None, interval: int, patience: int) -> None:
        """Train to the end.

        Args:
            max_epoch: epochs.
            max_update: updates after which training ends within an epoch, or None.
            interval: epochs between validations.
            patience: validations without a new best after which training ends; 0 never.

        Raises:
            Interrupted: a stop signal came; progress is saved.
            FloatingPointError: the loss or a gradient is not finite.
        """
        limit = max_update or math.inf
        previous = {number: signal.signal(number, self._on_signal) for number in STOP_SIGNALS}
        try:
            if self.updates == 0 and self.cfg.checkpoint.finetune_from_model is not None:
                self._validate(epoch=0)
            while (
                self.batches.next_epoch_idx <= max_epoch
                and self.updates < limit
                and not (patience and self.since_best >= patience)
            ):
                epoch = self.batches.next_epoch_idx
                with metrics.aggregate("train"):
                    self._train_epoch(limit)
                    final = epoch == max_epoch or self.updates >= limit
                    self._record("train", epoch, metrics.get_smoothed_values("train"))
                    metrics.reset_meters("train")
                self.trainer.lr_step(epoch)
                score = self._validate(epoch) if final or epoch % interval == 0 else None
                self._save(score)
                self.batches = self.trainer.get_train_iterator(self.batches.next_epoch_idx, load_dataset=False)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _train_epoch(self, limit: float) -> None:
        frequency = self.cfg.optimization.update_freq
        epoch = self.batches.next_epoch_idx
        batches = GroupedIterator(
            self.batches.next_epoch_itr(fix_batches_to_gpus=False, shuffle=True),
            frequency[min(epoch, len(frequency)) - 1],
        )
        self.trainer.begin_epoch(epoch)
        for samples in batches:
            self.trainer.train_step(samples)
            if self.stop_signal is not None:
                self._save(None)
                name = signal.Signals(self.stop_signal).name
                raise Interrupted(f"{name} at update {self.updates} of epoch {epoch}: progress is saved")
            if self.updates >= limit:
                return

    def _validate(self, epoch: int) -> float:
        """Losses and BLEU on the validation set; returns the metric that chooses the best checkpoint."""
        self.trainer.begin_valid_epoch(epoch)
        batches = self.trainer.get_valid_iterator("valid").next_epoch_itr(shuffle=False, set_dataset_epoch=False)
        with metrics.aggregate(new_root=True) as values:
            for sample in batches:
                self.trainer.valid_step(sample)
        stats = values.get_smoothed_values()
        self._record("valid", epoch, stats)
        return float(stats[self.metric])

    def _save(self, score: float | None) -> None:
        """Write the last checkpoint, and the best one when ``score`` is at least as good as any before it."""
        is_best = False
        if score is not None:
            is_best = self.best is None or (score >= self.best if self.maximize else score <= self.best)
            self.best = score if is_best else self.best
            self.since_best = 0 if is_best else self.since_best + 1
        write_lines(self.folder / HISTORY, map(json.dumps, self.history))
        state = {
            "train_iterator": self.batches.state_dict(),
            "val_loss": score,
            "best": self.best,
            "since_best": self.since_best,
        }
        self.trainer.consolidate_optimizer()
        # The best one first, then the same file under its second name: a kill in between repeats an epoch, and
        # the repetition writes the same best checkpoint again.
        self.trainer.save_checkpoint(str(self.folder / (BEST if is_best else LAST)), state)
        if is_best:
            _link(self.folder / BEST, self.folder / LAST)

    def _record(self, event: str, epoch: int, stats: dict[str, Any]) -> None:
        values = {key: round(float(value), 6) for key, value in stats.items() if np.isscalar(value)}
        record = {
            "event": event,
            "epoch": epoch,
            "updates": self.updates,
            "seconds": round(self.seconds, 2),
            **{key: values[key] for key in _REPORTED[event] if key in values},
        }
        self.history.append(record)
        shown = [f"{key} {record[key]:g}" for key in _REPORTED[event] if key in record]
        self.say(
            f"epoch {epoch:3d} {event:5s} | update {self.updates} | {' | '.join(shown)} | {record['seconds']:.0f} s"
        )

    def _on_signal(self, number: int, frame: Any) -> None:
        self.stop_signal = number


_REPORTED = {
    "train": ("loss", "nll_loss", "kd_loss", "ppl", "lr", "gnorm", "wps"),
    "valid": ("loss", "nll_loss", "kd_loss", "ppl", "bleu"),
}


def _read_history(path: Path, updates: int) -> list[dict[str, Any]]:
    """Records up to the checkpoint's update; later ones belong to work that is about to be repeated."""
    if not path.exists():
        return []
    return [record for record in map(json.loads, read_lines(path)) if record["updates"] <= updates]


def _link(source: Path, target: Path) -> None:
    """Give ``source`` a second name, replacing ``target`` in one step."""
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:  # a file system without hard links
        temporary.write_bytes(source.read_bytes())
    os.replace(temporary, target)
