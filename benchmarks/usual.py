"""Distillation as it is usually written on top of fairseq, to be compared with; used by nothing but the benchmark.

Every target position goes through both projections, padding too, each softmax is computed once for every use of it, the
teacher stays in training mode, as in the code of the paper, and autograd differentiates it all.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from torch import Tensor, nn


class UsualDistillation(LabelSmoothedCrossEntropyCriterion):
    """α · CE + (1 − α) · KL(teacher ‖ student), as :class:`kd.criterion.LabelSmoothedKDCriterion` at T = 1.

    Args:
        ours: that criterion, with its teacher online.
    """

    def __init__(self, ours: Any):
        super().__init__(ours.task, ours.sentence_avg, ours.eps)
        self.alpha = ours.alpha
        self.teacher = [ours.teacher.model.train()]  # in a list, so that it is no part of this module

    def forward(self, model: nn.Module, sample: dict[str, Any], reduce: bool = True) -> tuple[Tensor, int, dict]:
        """As that of a fairseq criterion."""
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
