"""fairseq's Trainer without its post-mortem of a lost loss; several ranks validate as one process does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from fairseq.data.iterators import EpochBatchIterator
from fairseq.tasks import FairseqTask
from fairseq.trainer import Trainer as FairseqTrainer
from torch import Tensor, nn


class NotFinite(ArithmeticError):
    """The loss or a gradient is not finite. Not a FloatingPointError: fairseq would catch that one."""


class Trainer(FairseqTrainer):
    """Raises :class:`NotFinite`, in training and in validation, and that is all.

    Each rank validates on all of the validation set. The numbers of the first one are everyone's: to the last bit those
    of a single process, and the same ones everywhere, so that all ranks decide alike.

    fairseq's own writes ``crash.pt``, as large as a checkpoint, and repeats the batch with hooks that current versions
    of torch break on, so that the error which arrives is another one.
    """

    def __init__(self, cfg: Any, task: FairseqTask, model: nn.Module, criterion: nn.Module):
        super().__init__(cfg, task, model, criterion)
        # Between loss and validation BLEU: the beam search of a model that gives NaN ends in an assertion of its own.
        criterion.register_forward_hook(_require_finite_validation)

    def train_step(self, samples: list[dict[str, Any]], raise_oom: bool = False) -> Any:
        """One update. Raises NotFinite, also for the FloatingPointError of a criterion."""
        # At the end of an epoch a rank may lack its last batch. fairseq would then count none of the update's tokens.
        samples = [sample for sample in samples if sample] or samples[:1]
        try:
            return super().train_step(samples, raise_oom)
        except FloatingPointError as error:
            raise NotFinite(str(error)) from error

    def clip_grad_norm(self, clip_norm: float) -> Tensor:
        """The gradient's norm before clipping, a scalar."""
        try:
            norm = super().clip_grad_norm(clip_norm)
        except FloatingPointError as error:  # fp16's loss scale cannot be lowered any more
            raise NotFinite(str(error)) from error
        if not torch.isfinite(norm).all():
            raise NotFinite("the gradient")
        return norm

    def cumulative_training_time(self) -> float:
        """Seconds of training and validation; with several ranks fairseq's own lacks those since the last update."""
        return self._local_cumulative_training_time()

    def _aggregate_logging_outputs(self, logging_outputs: list, *sums: Any, ignore: bool = False) -> Any:
        only_first = not self.model.training and not self.is_data_parallel_master
        return super()._aggregate_logging_outputs(logging_outputs, *sums, ignore=ignore or only_first)

    def get_train_iterator(self, epoch: int, *args: Any, **kwargs: Any) -> EpochBatchIterator:
        """The batches of the training set, the same ones whichever epoch a run goes on from.

        fairseq draws which sentences share a batch once a process, with a seed to which it adds the epoch of the start:
        a run that went on would train on other batches. The driver sets the position, the epoch included.
        """
        return super().get_train_iterator(1, *args, **kwargs)

    def save_checkpoint(self, filename: str, extra_state: dict[str, Any]) -> str | None:
        """Write all training state to a file, unless it is the one of a crash."""
        return None if Path(filename).name == "crash.pt" else super().save_checkpoint(filename, extra_state)


def _require_finite_validation(criterion: nn.Module, _: Any, output: tuple[Tensor, int, dict[str, Any]]) -> None:
    if not criterion.training and not torch.isfinite(output[0]).all():
        raise NotFinite("on the validation set")
