"""Beam search over a binarised split with a trained fairseq model.

Everything that translating needs from fairseq is here; ``translate.py`` knows :class:`Translator` and :class:`Search`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from fairseq import checkpoint_utils, tasks, utils
from fairseq.data import LanguagePairDataset
from fairseq.data.data_utils import infer_language_pair
from fairseq.sequence_generator import SequenceGenerator
from fairseq.tasks.translation import TranslationTask

from ekd_nmt.common.errors import UserError
from ekd_nmt.resume.out_of_memory import is_out_of_memory
from kd.checkpoints import UNREADABLE, first_line
from kd.dictionaries import check_dictionaries

BPE_MARKER = "@@ "  # what subword-nmt puts between the pieces of a word


@dataclass(frozen=True)
class Beam:
    """Settings of the beam search, named as in fairseq.

    A hypothesis has at most ``max_len_a * source_length + max_len_b`` tokens; its score is its log-probability divided
    by ``length ** lenpen``.
    """

    size: int = 5
    lenpen: float = 1.0
    max_len_a: float = 1.2
    max_len_b: int = 10


@dataclass(frozen=True, slots=True)
class Translation:
    """The best hypothesis of one sentence: tokens with BPE removed, and its length-normalised log-probability."""

    text: str
    score: float


class Translator:
    """A trained model with its dictionaries, ready to translate splits of one binarised data folder.

    Args:
        model: checkpoint in fairseq's format.
        data: folder written by fairseq-preprocess; it replaces the folder recorded in the checkpoint.
        target_lang: language the caller expects.
        cpu: stay on the CPU even when a GPU is there.

    Raises:
        UserError: the checkpoint or the data cannot be read, the target language is another, or the checkpoint was
            trained with other dictionaries than those in ``data``.
    """

    def __init__(self, model: Path, data: Path, target_lang: str, *, cpu: bool = False) -> None:
        state = _load_state(model, data)
        self.task = _setup_task(state["cfg"].task, data)
        if self.task.cfg.target_lang != target_lang:
            raise UserError(f"{data}: is translated to {self.task.cfg.target_lang}, not to {target_lang} as asked")
        fix = "pass the data folder that the model was trained on"
        check_dictionaries(state, self.task, model=str(model), other=f"that of {data}", fix=fix)
        (self.model,), _, _ = checkpoint_utils.load_model_ensemble_and_task([str(model)], task=self.task, state=state)
        self.data = data
        self.cuda = torch.cuda.is_available() and not cpu
        if self.cuda:
            self.model.cuda()
        # drops what only training needs (attention weights for alignment, dropout); the outputs stay the same
        self.model.make_generation_fast_(need_attn=False)

    def batches(self, split: str, max_tokens: int) -> list[np.ndarray]:
        """The sentence numbers of a split, batch by batch; always the same ones.

        Batches hold sentences of similar length, at most ``max_tokens`` source or target tokens each, padding counted.
        No sentence is left out: one longer than ``max_tokens``, or than any seen in training, gets a batch too.

        Raises:
            UserError: the split is not in the data folder.
        """
        dataset = self.load(split)
        order = dataset.ordered_indices()
        longest = max(dataset.num_tokens_vec(order), default=0)
        return list(dataset.batch_by_size(order, max_tokens=max(max_tokens, int(longest))))

    def load(self, split: str) -> LanguagePairDataset:
        """Return the sentence pairs of a split, read once.

        Raises:
            UserError: the split is not in the data folder.
        """
        try:
            if split not in self.task.datasets:
                self.task.load_dataset(split)
                # else sentences of one length come in a random order: other batches each time
                self.task.dataset(split).shuffle = False
        except FileNotFoundError as error:
            raise UserError(f"{self.data}: has no split {split!r}; check --split and --data") from error
        return self.task.dataset(split)


class Search:
    """Beam search over batches of one split.

    Args:
        translator: the model.
        split: what to translate.
        beam: settings of the search.
        before_batch: called before each search; may raise in order to stop.
        say: takes a line for the reader of the log.

    Raises:
        UserError: the split is not in the data folder.
    """

    def __init__(
        self,
        translator: Translator,
        split: str,
        beam: Beam,
        before_batch: Callable[[], None] = lambda: None,
        say: Callable[[str], None] = print,
    ) -> None:
        self._translator, self._split, self._before_batch, self._say = translator, split, before_batch, say
        self._dataset = translator.load(split)
        self._dictionary = translator.task.target_dictionary
        self._halved = False
        self._generator = SequenceGenerator(
            [translator.model],
            self._dictionary,
            beam_size=beam.size,
            len_penalty=beam.lenpen,
            max_len_a=beam.max_len_a,
            max_len_b=beam.max_len_b,
        )

    def translate(self, batch: np.ndarray) -> list[Translation]:
        """Translate the sentences of these numbers, in this order; in halves what does not fit into memory.

        Raises:
            UserError: a single sentence does not fit.
        """
        self._before_batch()
        try:
            return self._search(batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(batch) == 1:
                raise UserError(
                    f"line {batch[0] + 1} of {self._split}: does not fit into memory, not even alone; ask for more "
                    "memory, lower the beam or the longest output, or pass --cpu"
                ) from error
        # from here on, and not before, the exception no longer holds what the search had allocated
        if self._translator.cuda:
            torch.cuda.empty_cache()
        if not self._halved:
            self._say(f"a batch of {len(batch)} sentences did not fit into memory; batches are halved")
            self._halved = True
        middle = len(batch) // 2
        return self.translate(batch[:middle]) + self.translate(batch[middle:])

    def _search(self, batch: np.ndarray) -> list[Translation]:
        numbers = batch.tolist()
        sample = self._dataset.collater([self._dataset[number] for number in numbers])
        sample = utils.move_to_cuda(sample) if self._translator.cuda else sample
        found = self._generator.generate([self._translator.model], sample)
        best = {
            number: self._translation(hypotheses[0])
            for number, hypotheses in zip(sample["id"].tolist(), found, strict=True)
        }
        return [best[number] for number in numbers]

    def _translation(self, hypothesis: Mapping[str, torch.Tensor]) -> Translation:
        text = self._dictionary.string(hypothesis["tokens"].int().cpu(), BPE_MARKER)
        return Translation(text, float(hypothesis["score"]))


def _setup_task(config, data: Path) -> TranslationTask:
    try:
        # a checkpoint trained without named languages has none; the file names in the data folder tell
        if config.source_lang is None or config.target_lang is None:
            config.source_lang, config.target_lang = infer_language_pair(str(data))
        if config.source_lang is not None:
            return tasks.setup_task(config)
    except FileNotFoundError as error:
        raise UserError(f"{error.filename or data}: not found; pass the folder of binarised data as --data") from error
    raise UserError(f"{data}: holds no binarised data; pass the folder that binarize.py wrote as --data")


def _load_state(model: Path, data: Path) -> dict:
    try:
        return checkpoint_utils.load_checkpoint_to_cpu(str(model), {"data": str(data), "eval_bleu": False})
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise UserError(f"{model}: cannot be read ({error.strerror}); check the path and its permissions") from error
    except UNREADABLE as error:
        raise UserError(
            f"{model}: is not a readable fairseq checkpoint ({first_line(error)}); train it again"
        ) from error
