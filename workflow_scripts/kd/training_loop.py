"""The training loop around fairseq's Trainer: exact resuming after an interruption at any point.

fairseq's loop keeps the state of early stopping in function attributes, cannot save on request, and copies the last
checkpoint in a way that a kill can truncate. This loop uses the same Trainer (same batches, random numbers and losses)
and
  - writes checkpoints atomically, each a single file with the whole state of the training,
  - saves at intervals of updates or minutes, also within an epoch or a validation,
  - on SIGTERM, SIGINT or SIGUSR1 saves and stops at the next update, or the next batch of a validation,
  - resumes from an older checkpoint if the last one is damaged,
  - can split each batch into micro-batches.

With several ranks, each has a training loop and all make the same decisions: they agree on stopping, each validates on
the whole validation set, and the first one writes the files.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from omegaconf import OmegaConf

from ekd_nmt.common.errors import Interrupted
from ekd_nmt.common.signals import stop_signals_handled
from kd import history
from kd.attempts import Attempt
from kd.checkpoints import LAST, new_name, newest_as_last, put_in_place
from kd.distributed import Ranks
from kd.fairseq_api import GroupedIterator, load_checkpoint, metrics, set_torch_seed, setup_task
from kd.trainer import NotFinite, Trainer

_DUE = 1  # below the number of each stop signal


class TrainingLoop:
    """One training run.

    Args:
        cfg: fairseq's configuration (``convert_namespace_to_omegaconf``).
        say: logs a line.
        before_loading: called after the model is built and before weights are loaded; may raise.
        before_saving: called before checkpoints are replaced; may raise.
        micro_batches: number that each batch is split into, to save memory.

    The newest checkpoint of ``cfg.checkpoint.save_dir`` is loaded, if there is one.
    """

    def __init__(
        self,
        cfg: Any,
        say: Callable[[str], None] = print,
        before_loading: Callable[[TrainingLoop], None] = lambda loop: None,
        before_saving: Callable[[], None] = lambda: None,
        micro_batches: int = 1,
    ):
        self.cfg = cfg
        self.say = say
        self.folder = Path(cfg.checkpoint.save_dir)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.maximize = bool(cfg.checkpoint.maximize_best_checkpoint_metric)
        self.metric = cfg.checkpoint.best_checkpoint_metric
        self.stop_signal: int | None = None
        self._before_saving = before_saving

        metrics.reset()
        np.random.seed(cfg.common.seed)
        set_torch_seed(cfg.common.seed)
        self.task = setup_task(cfg.task)
        self.model = self.task.build_model(cfg.model)
        self.task.load_dataset("valid", combine=False, epoch=1)
        self.trainer = Trainer(cfg, self.task, self.model, self.task.build_criterion(cfg.criterion), micro_batches)

        before_loading(self)
        trainer = self.trainer
        self.ranks = Ranks(trainer.data_parallel_world_size, trainer.data_parallel_rank, trainer.device)
        # all ranks wait here until the first one has repaired the checkpoints that they then read
        resumed = bool(self.ranks.largest(self.ranks.first and newest_as_last(self.folder, say)))
        loaded, self.batches = load_checkpoint(cfg.checkpoint, trainer)
        state: dict[str, Any] = loaded if resumed else {}  # without a checkpoint, `loaded` is of the initial model
        self.best: float | None = state.get("best")
        self.best_updates: int | None = state.get("best_updates")
        self.since_best: int = state.get("since_best", 0)
        self.unvalidated: int | None = state.get("unvalidated")  # epoch that is trained and not yet validated
        self.history: list[dict[str, Any]] = state.get("history", [])
        self.target_tokens: int = state.get("target_tokens", 0)  # trained on, of all ranks
        self.update_seconds: float = state.get("update_seconds", 0.0)
        self._own_tokens = 0  # of this rank, not in `target_tokens` yet
        self._position: dict[str, Any] | None = state.get("train_iterator")
        self.attempt = Attempt(self.folder, self.updates, self.ranks.first)
        self._saved_updates, self._saved_at = self.updates, time.monotonic()
        self._every: tuple[float, float] = (math.inf, math.inf)
        if resumed:
            self.say(f"resuming from update {self.updates} ({self.folder / LAST})")
        if self.attempt.repeated:
            self.say(f"repeating {self.attempt.repeated} updates that no checkpoint has")

    @property
    def updates(self) -> int:
        """Number of updates so far."""
        return self.trainer.get_num_updates()

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of training and validation, including those before an interruption."""
        return self.trainer.cumulative_training_time()

    @property
    def tokens_per_second(self) -> float:
        """Target tokens trained on per second, without validation."""
        return self.target_tokens / self.update_seconds if self.update_seconds else 0.0

    @property
    def device(self) -> str:
        """Name of the device, and number of ranks if several."""
        name = torch.cuda.get_device_name() if self.trainer.cuda else "cpu"
        return name if self.ranks.count == 1 else f"{self.ranks.count} x {name}"

    def cfg_as_dict(self) -> dict[str, Any]:
        """fairseq's configuration as plain containers, as in its checkpoints."""
        return cast(dict[str, Any], OmegaConf.to_container(self.cfg, resolve=True, enum_to_str=True))

    @property
    def parameters(self) -> int:
        """Number of trained parameters; shared embeddings count once."""
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)

    def run(
        self,
        max_epoch: int,
        max_update: int | None,
        interval: int,
        patience: int,
        checkpoint_updates: int | None = None,
        checkpoint_minutes: float | None = None,
    ) -> None:
        """Train to the end.

        Args:
            max_epoch: number of epochs.
            max_update: number of updates after which training ends within an epoch, or None.
            interval: epochs between validations.
            patience: validations without a new best score after which training ends; 0 for no early stopping.
            checkpoint_updates: updates between checkpoints within an epoch.
            checkpoint_minutes: minutes between checkpoints within an epoch.

        Raises:
            Interrupted: on a stop signal; progress is saved.
            NotFinite: the loss or a gradient is not finite.
            OutOfMemory: a batch does not fit into memory.
        """
        limit = max_update or math.inf
        self._every = (checkpoint_updates or math.inf, 60 * (checkpoint_minutes or math.inf))
        with stop_signals_handled(self._on_signal):
            if self.updates == 0 and self.cfg.checkpoint.finetune_from_model is not None:
                self._validate(epoch=0)
            while self.unvalidated is not None or (
                self.batches.next_epoch_idx <= max_epoch
                and self.updates < limit
                and not (patience and self.since_best >= patience)
            ):
                if self.unvalidated is None:
                    self.unvalidated = self._train_epoch(limit)
                    self._save_or_stop()
                epoch = self.unvalidated
                final = epoch == max_epoch or self.updates >= limit
                is_best = self._update_best(self._validate(epoch)) if final or epoch % interval == 0 else False
                self.unvalidated = None
                self._save(is_best)
                self.batches = self.trainer.get_train_iterator(self.batches.next_epoch_idx, load_dataset=False)

    def _train_epoch(self, limit: float) -> int:
        """Train for the rest of the epoch; returns its number."""
        frequency = self.cfg.optimization.update_freq
        epoch = self.batches.next_epoch_idx
        batches = GroupedIterator(
            self.batches.next_epoch_itr(fix_batches_to_gpus=False, shuffle=True),
            frequency[min(epoch, len(frequency)) - 1],
        )
        self.trainer.begin_epoch(epoch)
        with metrics.aggregate("train"):
            for samples in batches:
                self._update(samples)
                self._position = self.batches.state_dict()
                if self.updates >= limit:
                    break
                if batches.has_next():  # at the end of the epoch, its record comes first
                    self._save_or_stop()
            self._record("train", epoch, metrics.get_smoothed_values("train"))
            metrics.reset_meters("train")
        self.trainer.lr_step(epoch)
        return epoch

    def _update(self, samples: list[dict[str, Any]]) -> None:
        started = time.perf_counter()
        try:
            self.trainer.train_step(samples)
        except NotFinite as error:
            cause = str(error).partition(";")[0]
            raise NotFinite(f"the loss is not finite at update {self.updates + 1} ({cause})") from error
        self.update_seconds += time.perf_counter() - started
        self._own_tokens += sum(sample["ntokens"] for sample in samples if sample)  # a rank may lack the last one
        self.attempt.record(self.updates)

    def _validate(self, epoch: int) -> float:
        """Validate; returns the metric that selects the best checkpoint."""
        self.trainer.begin_valid_epoch(epoch)
        batches = self.trainer.get_whole_valid_iterator()
        with metrics.aggregate(new_root=True) as values:
            for sample in batches:
                self._save_or_stop()
                try:
                    self.trainer.valid_step(sample)
                except NotFinite as error:
                    raise NotFinite(f"the loss is not finite at update {self.updates} ({error})") from error
        stats = values.get_smoothed_values()
        self._record("valid", epoch, stats)
        return float(stats[self.metric])

    def _update_best(self, score: float) -> bool:
        """Whether ``score`` is at least as good as all before it; updates the state of early stopping."""
        is_best = self.best is None or (score >= self.best if self.maximize else score <= self.best)
        self.best, self.best_updates = (score, self.updates) if is_best else (self.best, self.best_updates)
        self.since_best = 0 if is_best else self.since_best + 1
        return is_best

    def _save_or_stop(self) -> None:
        """Save and stop if any rank got a stop signal; save if a checkpoint is due on any rank."""
        number = self.ranks.largest(self.stop_signal or (_DUE if self._is_due() else 0))
        if number <= _DUE:
            if number:
                self._save(is_best=False)
            return
        name = signal.Signals(number).name
        if self.updates == 0:
            message = f"{name} before the first update: nothing to save"
        else:
            self._save(is_best=False)
            message = f"{name} at update {self.updates}: progress is saved"
        self.ranks.disconnect()  # waits until the checkpoint is written
        raise Interrupted(message)

    def _is_due(self) -> bool:
        """Whether the interval between checkpoints is over."""
        updates, seconds = self._every
        unsaved = self.updates - self._saved_updates
        return unsaved > 0 and (unsaved >= updates or time.monotonic() - self._saved_at >= seconds)

    def _save(self, is_best: bool) -> None:
        """Write a checkpoint, as the last one and, if it is, as the best one."""
        if self.ranks.first:
            self._before_saving()
        self.target_tokens += self.ranks.total(self._own_tokens)
        self._own_tokens = 0
        state = {
            "train_iterator": self._position,
            "best": self.best,
            "best_updates": self.best_updates,
            "is_best": is_best,
            "since_best": self.since_best,
            "unvalidated": self.unvalidated,
            "history": self.history,
            "target_tokens": self.target_tokens,
            "update_seconds": self.update_seconds,
        }
        self.trainer.consolidate_optimizer()
        new = new_name(self.folder)
        self.trainer.save_checkpoint(str(new), state)
        if self.ranks.first:
            self._before_saving()  # again, because writing may take long
            put_in_place(new, is_best)
        self._saved_updates, self._saved_at = self.updates, time.monotonic()

    def _record(self, event: str, epoch: int, stats: dict[str, Any]) -> None:
        entry = history.record(event, epoch=epoch, updates=self.updates, seconds=self.seconds, stats=stats)
        self.history.append(entry)
        self.say(history.describe(entry))

    def _on_signal(self, number: int, frame: Any) -> None:
        self.stop_signal = number
