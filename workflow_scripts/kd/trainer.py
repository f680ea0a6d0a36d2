"""fairseq's Trainer without its post-mortem of a lost loss; several ranks validate as one process does."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from fairseq import utils
from fairseq.data.iterators import CountingIterator, EpochBatchIterator
from fairseq.tasks import FairseqTask
from fairseq.trainer import Trainer as FairseqTrainer
from torch import Tensor, nn

from ekd_nmt.resume.out_of_memory import is_out_of_memory
from kd.checkpoints import first_line, save
from kd.micro_batches import split


class NotFinite(ArithmeticError):
    """The loss or a gradient is not finite. Not a FloatingPointError: fairseq would catch that one."""


class OutOfMemory(MemoryError):
    """Memory, of the GPU or the machine, did not suffice for a batch."""


class Trainer(FairseqTrainer):
    """Raises :class:`NotFinite` and :class:`OutOfMemory`, in training and in validation, and splits batches.

    For want of memory, each batch is split into ``parts``, and those of the validation are so many times smaller.

    Each rank validates on all of the validation set. The numbers of the first one are everyone's: to the last bit those
    of a single process, and the same ones everywhere, so that all ranks decide alike.

    fairseq's own writes ``crash.pt``, as large as a checkpoint, and repeats the batch with hooks that current versions
    of torch break on, so that the error which arrives is another one. Of a batch that does not fit into memory it makes
    no more than a warning, and leaves the batch out.
    """

    parts = 1

    def __init__(self, cfg: Any, task: FairseqTask, model: nn.Module, criterion: nn.Module, parts: int = 1):
        super().__init__(cfg, task, model, criterion)
        self.parts, self._pad = parts, task.target_dictionary.pad()
        # Between loss and validation BLEU: the beam search of a model that gives NaN ends in an assertion of its own.
        criterion.register_forward_hook(_require_finite_validation)

    def train_step(self, samples: list[dict[str, Any]], raise_oom: bool = False) -> Any:
        """One update. Raises NotFinite, also for the FloatingPointError of a criterion, and OutOfMemory."""
        # At the end of an epoch a rank may lack its last batch. fairseq would then count none of the update's tokens.
        samples = [part for sample in samples if sample for part in self._split(sample)] or samples[:1]
        try:
            return super().train_step(samples, raise_oom=True)
        except FloatingPointError as error:
            raise NotFinite(str(error)) from error
        except (RuntimeError, MemoryError) as error:
            _raise_out_of_memory(error)
            raise

    def valid_step(self, sample: dict[str, Any], raise_oom: bool = False) -> Any:
        """Losses of a batch of the validation set, and its translation. Raises OutOfMemory."""
        try:
            return super().valid_step(sample, raise_oom=True)
        except (RuntimeError, MemoryError) as error:
            _raise_out_of_memory(error)
            raise

    def _log_oom(self, exc: Exception) -> None:
        """Nothing; fairseq's own prints pages of tables."""

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

    def _split(self, sample: dict[str, Any]) -> Iterable[dict[str, Any]]:
        return split(sample, self.parts, self._pad) if self.parts > 1 else [sample]

    def reset_dummy_batch(self, batch: Any) -> None:
        """What a rank computes along that lacks its last batch; it must fit into memory as well."""
        super().reset_dummy_batch(next(iter(self._split(batch))) if isinstance(batch, dict) and batch else batch)

    def get_whole_valid_iterator(self) -> CountingIterator:
        """Batches of all sentences of the validation set.

        fairseq's own would leave out up to seven: it drops the end of a corpus that does not fill a batch of a multiple
        of eight sentences.
        """
        cfg, dataset = self.cfg.dataset, self.task.dataset("valid")
        longest = int(max(dataset.src_sizes.max(), dataset.tgt_sizes.max()))
        batches = self.task.get_batch_iterator(
            dataset=dataset,
            max_tokens=max(cfg.max_tokens_valid // self.parts, longest),  # a longer sentence is a batch by itself
            max_sentences=max(1, cfg.batch_size_valid // self.parts),
            max_positions=utils.resolve_max_positions(self.task.max_positions(), self.model.max_positions()),
            required_batch_size_multiple=1,
            seed=self.cfg.common.seed,
        )
        return batches.next_epoch_itr(shuffle=False, set_dataset_epoch=False)

    def save_checkpoint(self, filename: str, extra_state: dict[str, Any]) -> str | None:
        """Write all training state to a file, on the first rank, unless it is the one of a crash.

        fairseq's own tries again where a failed attempt has left off, and does not wait for the disk.

        Raises:
            OSError: the file cannot be written; nothing is left of it.
        """
        if Path(filename).name == "crash.pt" or not self.should_save_checkpoint_on_current_rank:
            return None
        state = utils.move_to_cpu(self.state_dict())
        state["extra_state"].update(extra_state)
        save(state, Path(filename))
        return filename


def _raise_out_of_memory(error: Exception) -> None:
    """Raise OutOfMemory if that is what an error is about."""
    if is_out_of_memory(error):
        raise OutOfMemory(first_line(error)) from error


def _require_finite_validation(criterion: nn.Module, _: Any, output: tuple[Tensor, int, dict[str, Any]]) -> None:
    if not criterion.training and not torch.isfinite(output[0]).all():
        raise NotFinite("on the validation set")
