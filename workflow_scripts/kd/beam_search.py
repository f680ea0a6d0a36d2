"""Beam search over a binarised split with a trained model: what ``translate.py`` needs of fairseq."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ekd_nmt.common.errors import UserError
from ekd_nmt.resume.out_of_memory import is_out_of_memory
from kd.checkpoints import UNREADABLE, first_line
from kd.dictionaries import check_dictionaries
from kd.fairseq_api import (
    LanguagePairDataset,
    SequenceGenerator,
    TranslationTask,
    infer_language_pair,
    load_checkpoint_to_cpu,
    load_model_ensemble_and_task,
    move_to_cuda,
    setup_task,
)

BPE_MARKER = "@@ "  # between the subwords of a word, as subword-nmt writes it


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
    """A trained model with its dictionaries, for translating the splits of a binarised corpus.

    Args:
        model: fairseq checkpoint.
        data: folder of the binarised corpus; it replaces the one recorded in the checkpoint.
        target_lang: expected target language.
        cpu: use no GPU even if there is one.

    Raises:
        UserError: the checkpoint or the corpus cannot be read, its target language is another, or its dictionaries are
            not those of the checkpoint.
    """

    def __init__(self, model: Path, data: Path, target_lang: str, *, cpu: bool = False) -> None:
        state = _load_state(model, data)
        self.task = _setup_task(state["cfg"].task, data)
        if self.task.cfg.target_lang != target_lang:
            raise UserError(f"{data}: is translated to {self.task.cfg.target_lang}, not to {target_lang} as requested")
        fix = "pass the data folder that the model was trained on"
        check_dictionaries(state, self.task, model=str(model), other=f"that of {data}", fix=fix)
        (self.model,), _, _ = load_model_ensemble_and_task([str(model)], task=self.task, state=state)
        self.data = data
        self.cuda = torch.cuda.is_available() and not cpu
        if self.cuda:
            self.model.cuda()
        # removes what only training needs (attention weights for alignment, dropout), without changing outputs
        self.model.make_generation_fast_(need_attn=False)

    def batches(self, split: str, max_tokens: int) -> list[np.ndarray]:
        """The sentence numbers of a split, batch by batch; deterministic.

        Batches hold sentences of similar length, at most ``max_tokens`` source or target tokens each, padding included.
        Every sentence is in a batch, even if it is longer than ``max_tokens`` or than any in training.

        Raises:
            UserError: the split is not in the data folder.
        """
        dataset = self.load(split)
        order = dataset.ordered_indices()
        longest = max(dataset.num_tokens_vec(order), default=0)
        return list(dataset.batch_by_size(order, max_tokens=max(max_tokens, int(longest))))

    def load(self, split: str) -> LanguagePairDataset:
        """The sentence pairs of a split, read once.

        Raises:
            UserError: the split is not in the data folder.
        """
        try:
            if split not in self.task.datasets:
                self.task.load_dataset(split)
                # otherwise sentences of equal length are shuffled, which changes the batches
                self.task.dataset(split).shuffle = False
        except FileNotFoundError as error:
            raise UserError(f"{self.data}: has no split {split!r}; check --split and --data") from error
        return self.task.dataset(split)


class Search:
    """Beam search over batches of one split.

    Args:
        translator: the model.
        split: to translate.
        beam: settings of the search.
        before_batch: called before each search; may raise to stop.
        say: logs a line.

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
        """Translate sentences by number, in this order; batches that do not fit into memory are halved.

        Raises:
            UserError: a single sentence does not fit into memory.
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
        # outside of the except clause, the exception no longer references the tensors of the search
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
        sample = move_to_cuda(sample) if self._translator.cuda else sample
        found = self._generator.generate([self._translator.model], sample)
        best = {
            number: self._translation(hypotheses[0])
            for number, hypotheses in zip(sample["id"].tolist(), found, strict=True)
        }
        return [best[number] for number in numbers]

    def _translation(self, hypothesis: Mapping[str, torch.Tensor]) -> Translation:
        text = self._dictionary.string(hypothesis["tokens"].int().cpu(), BPE_MARKER)
        return Translation(text, float(hypothesis["score"]))


def _setup_task(config: Any, data: Path) -> TranslationTask:
    try:
        # fairseq infers languages from the data folder; then a checkpoint does not name them
        if config.source_lang is None or config.target_lang is None:
            config.source_lang, config.target_lang = infer_language_pair(str(data))
        if config.source_lang is not None:
            return setup_task(config)
    except FileNotFoundError as error:
        raise UserError(f"{error.filename or data}: not found; pass the folder of binarised data as --data") from error
    raise UserError(f"{data}: holds no binarised data; pass the folder that binarize.py wrote as --data")


def _load_state(model: Path, data: Path) -> dict:
    try:
        return load_checkpoint_to_cpu(str(model), {"data": str(data), "eval_bleu": False})
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise UserError(f"{model}: cannot be read ({error.strerror}); check the path and its permissions") from error
    except UNREADABLE as error:
        raise UserError(
            f"{model}: is not a readable fairseq checkpoint ({first_line(error)}); train it again"
        ) from error
