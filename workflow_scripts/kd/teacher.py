"""The teacher of a distillation: a trained fairseq model, frozen, checked against the student's task."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from fairseq import checkpoint_utils, models
from fairseq.tasks import FairseqTask
from torch import Tensor, nn

from cli import UserError
from kd.checkpoints import UNREADABLE, first_line
from kd.dictionaries import check_dictionaries, recorded_fingerprints
from kd.projection import decoder_features, project

logger = logging.getLogger(__name__)


class Teacher:
    """A frozen model that gives logits for chosen target positions.

    Not an ``nn.Module`` on purpose: what holds it (the criterion) must neither register its parameters with the
    optimizer, nor save them in the student's checkpoints, nor switch it to training mode.

    Args:
        model: a fairseq encoder-decoder; its parameters are frozen and it is put into eval mode.
        dropout: keep the teacher's dropout active while the student trains (off during validation), as the reference
            code does. By default the teacher is deterministic.
    """

    def __init__(self, model: nn.Module, *, dropout: bool = False):
        self.model = model.eval().requires_grad_(False)
        self.dropout = dropout

    @classmethod
    def load(cls, path: str | Path, task: FairseqTask, *, dropout: bool = False) -> Teacher:
        """Load the teacher from a fairseq checkpoint.

        Args:
            path: the teacher's ``model.pt``.
            task: the student's task, whose dictionaries the teacher must share.
            dropout: see the class.

        Raises:
            UserError: the file is missing or is no fairseq checkpoint, or its dictionaries are not the task's.
        """
        if not Path(path).is_file():
            raise UserError(f"teacher {path}: no such file; train the teacher first, or correct --teacher")
        try:
            state = checkpoint_utils.load_checkpoint_to_cpu(str(path))
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
        # not task.build_model: the translation task would make *this* model the one whose validation BLEU it measures
        model = models.build_model(configuration, task, from_checkpoint=True)
        try:
            model.load_state_dict(weights, strict=True, model_cfg=configuration)
        except RuntimeError as error:
            raise UserError(f"teacher {path}: its weights do not fit its options ({first_line(error)})") from error
        logger.info("teacher %s: %s parameters", path, f"{sum(p.numel() for p in model.parameters()):,}")
        return cls(model, dropout=dropout)

    def logits(self, net_input: dict[str, Any], rows: Tensor, *, dtype: torch.dtype, training: bool) -> Tensor:
        """Logits ``(N, V)`` of the chosen target positions, without gradient.

        Args:
            net_input: fairseq's ``sample["net_input"]``.
            rows: int64 ``(N)``, indices into the flattened target positions; its device is where the teacher runs.
            dtype: type of the student's parameters; the teacher computes in the same precision.
            training: whether the student trains (and not validates); matters to ``dropout`` alone.
        """
        parameter = next(self.model.parameters())
        if (parameter.device, parameter.dtype) != (rows.device, dtype):
            self.model.to(device=rows.device, dtype=dtype)
        if self.model.training != (training and self.dropout):
            self.model.train(training and self.dropout)
        with torch.inference_mode():
            features = decoder_features(self.model, net_input, rows)
        # Tensors made in inference mode cannot be saved for the student's backward pass. So the small features are
        # copied out of it and the large logits made outside.
        with torch.no_grad():
            return project(self.model, features.clone())
