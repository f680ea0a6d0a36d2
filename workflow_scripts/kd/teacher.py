"""The teacher of a distillation, a frozen model or its cache, checked against the student's task."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import sha256
from kd.cache import SPLITS, Identity, TeacherCache, as_teaching, corpus_hash
from kd.checkpoints import UNREADABLE, first_line
from kd.dictionaries import check_dictionaries, fingerprints, recorded_fingerprints
from kd.fairseq_api import FairseqTask, build_model, load_checkpoint_to_cpu
from kd.fused_loss import Teaching
from kd.projection import decoder_features, project

logger = logging.getLogger(__name__)


class Teacher:
    """A frozen model that computes its distributions of chosen target positions.

    Not an ``nn.Module`` on purpose: the criterion that owns it must not register its parameters with the optimizer,
    save them in the student's checkpoints, or switch it to training mode.

    Args:
        model: a fairseq encoder-decoder; it is frozen and put into eval mode.
        temperature: of the softmax.
        dropout: keep the teacher's dropout active while the student trains (not in validation), as the reference code
            does. By default the teacher is deterministic.
    """

    def __init__(self, model: nn.Module, temperature: float = 1.0, *, dropout: bool = False):
        self.model = model.eval().requires_grad_(False)
        self.temperature = temperature
        self.dropout = dropout

    @classmethod
    def load(cls, path: str | Path, task: FairseqTask, temperature: float = 1.0, *, dropout: bool = False) -> Teacher:
        """Load the teacher from a fairseq checkpoint.

        Args:
            path: the teacher's ``model.pt``.
            task: the student's task; the teacher must have the same dictionaries.
            temperature, dropout: see the class.

        Raises:
            UserError: the file is missing or no fairseq checkpoint, or its dictionaries are not the task's.
        """
        _require_file(path)
        try:
            state = load_checkpoint_to_cpu(str(path))
            configuration, weights = state["cfg"].model, state["model"]
        except UNREADABLE as error:
            raise UserError(f"teacher {path}: not a readable fairseq checkpoint ({first_line(error)})") from error
        if not recorded_fingerprints(state):
            logger.warning(
                "teacher %s: not trained by this workflow, so only the sizes of its dictionaries are checked", path
            )
        check_dictionaries(
            state,
            task,
            model=f"teacher {path}",
            other="the student's",
            fix="train teacher and student on the same binarised data (same corpus, BPE codes and dictionaries)",
        )
        # not task.build_model: the translation task would then measure validation BLEU of *this* model
        model = build_model(configuration, task, from_checkpoint=True)
        try:
            model.load_state_dict(weights, strict=True, model_cfg=configuration)
        except RuntimeError as error:
            raise UserError(f"teacher {path}: its weights do not fit its options ({first_line(error)})") from error
        logger.info("teacher %s: %s parameters", path, f"{sum(p.numel() for p in model.parameters()):,}")
        return cls(model, temperature, dropout=dropout)

    def teach(self, sample: dict[str, Any], rows: Tensor, *, dtype: torch.dtype, training: bool) -> Tensor:
        """Log-probabilities ``(N, V)`` of the chosen target positions, without gradient, at least in float32.

        Args:
            sample: a fairseq batch.
            rows: int64 ``(N)``, indices into the flattened target positions; the teacher runs on their device.
            dtype: of the student's parameters; the teacher computes in the same precision.
            training: whether the student trains rather than validates; affects ``dropout`` alone.
        """
        parameter = next(self.model.parameters())
        if (parameter.device, parameter.dtype) != (rows.device, dtype):
            self.model.to(device=rows.device, dtype=dtype)
        if self.model.training != (training and self.dropout):
            self.model.train(training and self.dropout)
        # not inference mode, whose tensors cannot be used in the student's backward pass
        with torch.no_grad():
            logits = project(self.model, decoder_features(self.model, sample["net_input"], rows))
            wide = torch.promote_types(logits.dtype, torch.float32)
            if self.temperature != 1.0:
                logits = logits.to(wide) / self.temperature
            return torch.log_softmax(logits, dim=-1, dtype=wide)


class CachedTeacher:
    """A teacher's distributions, computed before by the workflow's step ``cache_teacher``.

    Args:
        cache: checked against what the training needs.
        tail: ``redistribute`` the probability of the tokens that the cache lacks over them, or make it one ``bucket``.
    """

    def __init__(self, cache: TeacherCache, tail: str = "redistribute"):
        self.splits = {name: cache.split(name) for name in SPLITS}
        self.tails = cache.tails() if tail == "redistribute" else None

    @classmethod
    def open(
        cls,
        folder: str | Path,
        task: FairseqTask,
        teacher: str | Path,
        temperature: float,
        *,
        tail: str = "redistribute",
    ) -> CachedTeacher:
        """Open a cache for the training of a student.

        Args:
            folder: of the cache.
            task: the student's, with its dictionaries and the folder of its corpus.
            teacher: the teacher's ``model.pt``; its SHA-256 is compared, it is not loaded.
            temperature: of the distillation.
            tail: see the class.

        Raises:
            UserError: the cache has another origin, is incomplete or was altered.
        """
        cache = TeacherCache(Path(folder))
        _require_file(teacher)
        data, languages = Path(task.cfg.data.split(":")[0]), (task.cfg.source_lang, task.cfg.target_lang)
        needed = Identity(
            teacher=sha256(teacher),
            dictionaries=fingerprints(task),
            vocabulary=len(task.target_dictionary),
            temperature=temperature,
            corpora={split: corpus_hash(data, split, languages) for split in SPLITS},
        )
        cache.check(needed)
        if os.environ.get("LOCAL_RANK", "0") == "0":  # once per node
            cache.verify()
        logger.info("teacher's cache %s: top_k %s, temperature %s", folder, cache.top_k, temperature)
        return cls(cache, tail)

    def teach(self, sample: dict[str, Any], rows: Tensor, *, dtype: torch.dtype, training: bool) -> Teaching:
        """As :meth:`Teacher.teach`, or the k most likely tokens and the rest, depending on the cache.

        Args:
            sample: a fairseq batch; its ``id`` are rows of the training set in training, else of the validation set.
            rows: int64 ``(N)``, indices into the flattened target positions, which are padded on the right.
            dtype: not used.
            training: which of the two sets.
        """
        target = sample["target"]
        records, lengths = self.splits["train" if training else "valid"].read(sample["id"].cpu().numpy())
        if len(records) != len(rows):  # ignore_prefix_size drops the first positions of each sentence
            inside = np.arange(target.size(1)) < lengths[:, None]
            wanted = np.zeros(inside.shape, dtype=bool)
            wanted.reshape(-1)[rows.cpu().numpy()] = True
            records = records[wanted[inside]]
        if self.tails is not None:
            self.tails = self.tails.to(target.device)
        return as_teaching(records, target.device, self.tails)


def _require_file(path: str | Path) -> None:
    if not Path(path).is_file():
        raise UserError(f"teacher {path}: no such file; train the teacher first, or correct --teacher")
