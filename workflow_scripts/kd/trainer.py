"""fairseq's Trainer with errors of its own, micro-batches, and the same validation on any number of ranks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ekd_nmt.resume.out_of_memory import is_out_of_memory
from kd.checkpoints import first_line, save
from kd.fairseq_api import (
    CountingIterator,
    EpochBatchIterator,
    FairseqTask,
    FairseqTrainer,
    move_to_cpu,
    resolve_max_positions,
)
from kd.micro_batches import split


class NotFinite(ArithmeticError):
    """The loss or a gradient is not finite. Not a FloatingPointError: fairseq would catch that one."""


class OutOfMemory(MemoryError):
    """A batch did not fit into the memory of the GPU or the machine."""


class Trainer(FairseqTrainer):
    """Raises :class:`NotFinite` and :class:`OutOfMemory`, in training and in validation, and splits batches.

    Training batches are split into ``micro_batches``, and validation batches are that many times smaller, to save
    memory.

    Each rank validates on the whole validation set, and all use the numbers of the first rank. So these are bit for bit
    those of a single process, and all ranks make the same decisions.

    When a loss is not finite, fairseq's Trainer writes ``crash.pt``, as large as a checkpoint, and repeats the batch
    with hooks that fail in current versions of torch, which hides the error. When a batch does not fit into memory, it
    logs a warning and skips the batch.
    """

    micro_batches = 1

    def __init__(self, cfg: Any, task: FairseqTask, model: nn.Module, criterion: nn.Module, micro_batches: int = 1):
        super().__init__(cfg, task, model, criterion)
        self.micro_batches, self._pad = micro_batches, task.target_dictionary.pad()
        # a hook, because it runs before validation BLEU, whose beam search fails an assertion on NaN
        criterion.register_forward_hook(_require_finite_validation)

    def train_step(self, samples: list[dict[str, Any]], raise_oom: bool = False) -> Any:
        """One update. Raises NotFinite, also for the FloatingPointError of a criterion, and OutOfMemory."""
        # at the end of an epoch a rank may lack its last batch; fairseq would then count none of the update's tokens
        samples = [each for sample in samples if sample for each in self._split(sample)] or samples[:1]
        try:
            return super().train_step(samples, raise_oom=True)
        except FloatingPointError as error:
            raise NotFinite(str(error)) from error
        except (RuntimeError, MemoryError) as error:
            _raise_out_of_memory(error)
            raise

    def valid_step(self, sample: dict[str, Any], raise_oom: bool = False) -> Any:
        """Losses of a validation batch, and its translation. Raises OutOfMemory."""
        try:
            return super().valid_step(sample, raise_oom=True)
        except (RuntimeError, MemoryError) as error:
            _raise_out_of_memory(error)
            raise

    def _log_oom(self, exc: Exception) -> None:
        """Nothing, where fairseq prints pages of tables."""

    def clip_grad_norm(self, clip_norm: float) -> Tensor:
        """The gradient's norm before clipping, a scalar."""
        try:
            norm = super().clip_grad_norm(clip_norm)
        except FloatingPointError as error:  # fp16's loss scale is at its minimum
            raise NotFinite(str(error)) from error
        if not torch.isfinite(norm).all():
            raise NotFinite("the gradient")
        return norm

    def cumulative_training_time(self) -> float:
        """Seconds of training and validation; fairseq's sum over ranks lacks those since the last update."""
        return self._local_cumulative_training_time()

    def _aggregate_logging_outputs(self, logging_outputs: list, *sums: Any, ignore: bool = False) -> Any:
        only_first = not self.model.training and not self.is_data_parallel_master
        return super()._aggregate_logging_outputs(logging_outputs, *sums, ignore=ignore or only_first)

    def get_train_iterator(self, epoch: int, *args: Any, **kwargs: Any) -> EpochBatchIterator:
        """The batches of the training set, whichever epoch a training resumes from.

        fairseq groups sentences into batches once per process, and adds the first epoch to the seed, so a resumed
        training would have other batches. The training loop sets the position, including the epoch.
        """
        return super().get_train_iterator(1, *args, **kwargs)

    def _split(self, sample: dict[str, Any]) -> Iterable[dict[str, Any]]:
        return split(sample, self.micro_batches, self._pad) if self.micro_batches > 1 else [sample]

    def reset_dummy_batch(self, batch: Any) -> None:
        """The batch that a rank computes when it lacks its last one; it must fit into memory too."""
        super().reset_dummy_batch(next(iter(self._split(batch))) if isinstance(batch, dict) and batch else batch)

    def get_whole_valid_iterator(self) -> CountingIterator:
        """Batches of all sentences of the validation set.

        fairseq's iterator may drop up to seven, because it makes batches of a multiple of eight sentences.
        """
        cfg, dataset = self.cfg.dataset, self.task.dataset("valid")
        longest = int(max(dataset.src_sizes.max(), dataset.tgt_sizes.max()))
        max_tokens = max(cfg.max_tokens_valid // self.micro_batches, longest)  # a longer sentence is a batch of its own
        batches = self.task.get_batch_iterator(
            dataset=dataset,
            max_tokens=max_tokens,
            max_sentences=max(1, cfg.batch_size_valid // self.micro_batches),
            max_positions=resolve_max_positions(self.task.max_positions(), self.model.max_positions()),
            required_batch_size_multiple=1,
            seed=self.cfg.common.seed,
        )
        return batches.next_epoch_itr(shuffle=False, set_dataset_epoch=False)

    def save_checkpoint(self, filename: str, extra_state: dict[str, Any]) -> str | None:
        """Write the training state to a file, on the first rank; a ``crash.pt`` is not written.

        fairseq's method retries into the same file after an error, and does not wait for the disk.

        Raises:
            OSError: the file cannot be written; no file remains.
        """
        if Path(filename).name == "crash.pt" or not self.should_save_checkpoint_on_current_rank:
            return None
        state = move_to_cpu(self.state_dict())
        state["extra_state"].update(extra_state)
        save(state, Path(filename))
        return filename


def _raise_out_of_memory(error: Exception) -> None:
    """Raise OutOfMemory if an error is about memory."""
    if is_out_of_memory(error):
        raise OutOfMemory(first_line(error)) from error


def _require_finite_validation(criterion: nn.Module, _: Any, output: tuple[Tensor, int, dict[str, Any]]) -> None:
    if not criterion.training and not torch.isfinite(output[0]).all():
        raise NotFinite("on the validation set")
