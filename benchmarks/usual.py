"""Distillation as it is usually written on top of fairseq; a baseline of the benchmark alone.

Both models project every target position, including padding; each softmax is computed again for every use; the teacher
stays in training mode, as in the code of the paper; and the gradient is autograd's.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd.fairseq_api import LabelSmoothedCrossEntropyCriterion


class UsualDistillation(LabelSmoothedCrossEntropyCriterion):
    """α · CE + (1 − α) · KL(teacher ‖ student), as :class:`kd.criterion.LabelSmoothedKDCriterion` at T = 1.

    Args:
        ours: that criterion, with an online teacher.
    """

    def __init__(self, ours: Any):
        super().__init__(ours.task, ours.sentence_avg, ours.eps)
        self.alpha = ours.alpha
        self.teacher = [ours.teacher.model.train()]  # in a list, so that it is not a submodule

    def forward(self, model: nn.Module, sample: dict[str, Any], reduce: bool = True) -> tuple[Tensor, int, dict]:
        """See fairseq's criteria."""
        output = model(**sample["net_input"])
        cross_entropy, nll = self.compute_loss(model, output, sample, reduce=reduce)
        teacher = self.teacher[0].to(output[0].device, output[0].dtype)
        with torch.no_grad():
            probabilities = F.softmax(teacher(**sample["net_input"])[0], dim=-1, dtype=torch.float32)
        log_probs = F.log_softmax(output[0], dim=-1, dtype=torch.float32)
        divergence = F.kl_div(log_probs, probabilities, reduction="none").sum(dim=-1)
        divergence = divergence.masked_fill(sample["target"].eq(self.padding_idx), 0).sum()
        loss = self.alpha * cross_entropy + (1 - self.alpha) * divergence
        logs = {"loss": loss.data, "nll_loss": nll.data, "ntokens": sample["ntokens"]}
        logs |= {"nsentences": sample["target"].size(0), "sample_size": sample["ntokens"]}
        return loss, sample["ntokens"], logs
