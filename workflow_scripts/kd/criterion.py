"""The fairseq criterion ``label_smoothed_kd``: label-smoothed cross-entropy mixed with word-level distillation.

    loss = α · CE_label-smoothed + (1 − α) · T² · D(p_teacher, p_student)

summed over the vocabulary and the target tokens that are not padding; fairseq's trainer divides the gradient by the
number of target tokens. D is a divergence of :mod:`kd.divergences`. Source: arXiv 2605.09924 (α = 0.5, T = 1).
"""

# no "from __future__ import annotations" here: fairseq makes command-line options of the dataclass by its field types
import math
from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
    label_smoothed_nll_loss,
)
from fairseq.dataclass import ChoiceEnum
from fairseq.logging import metrics
from fairseq.tasks import FairseqTask
from torch import Tensor, nn

from cli import UserError
from kd.divergences import DIVERGENCES, distillation_loss, log_softmax
from kd.projection import decoder_features, project
from kd.teacher import Teacher


@dataclass
class LabelSmoothedKDCriterionConfig(LabelSmoothedCrossEntropyCriterionConfig):
    """Options of ``label_smoothed_kd``, beside those of ``label_smoothed_cross_entropy``."""

    alpha: float = field(default=0.5, metadata={"help": "weight of the cross-entropy; distillation gets 1 - alpha"})
    temperature: float = field(default=1.0, metadata={"help": "temperature of both distributions in the distillation"})
    divergence: ChoiceEnum(sorted(DIVERGENCES)) = field(
        default="forward_kl", metadata={"help": "divergence between the teacher's and the student's distribution"}
    )
    teacher: str = field(default="", metadata={"help": "the teacher's checkpoint, model.pt (required)"})
    teacher_dropout: bool = field(
        default=False, metadata={"help": "keep the teacher's dropout active in training, as the reference code does"}
    )


@register_criterion("label_smoothed_kd", dataclass=LabelSmoothedKDCriterionConfig)
class LabelSmoothedKDCriterion(LabelSmoothedCrossEntropyCriterion):
    """See the module. Logs ``loss``, ``nll_loss`` (with ``ppl``) and ``kd_loss``, all in bits a token.

    Raises:
        UserError: no teacher, a teacher that does not fit the task, or a weight or temperature out of range.
    """

    def __init__(
        self,
        task: FairseqTask,
        sentence_avg: bool,
        label_smoothing: float,
        ignore_prefix_size: int = 0,
        report_accuracy: bool = False,
        alpha: float = 0.5,
        temperature: float = 1.0,
        divergence: str = "forward_kl",
        teacher: str = "",
        teacher_dropout: bool = False,
    ):
        super().__init__(task, sentence_avg, label_smoothing, ignore_prefix_size, report_accuracy)
        if not 0 <= alpha <= 1:
            raise UserError(f"--alpha is {alpha}; the weight of the cross-entropy must lie in 0 to 1")
        if not 0 < temperature < math.inf:
            raise UserError(f"--temperature is {temperature}; it must be a positive number")
        if not teacher:
            raise UserError("label_smoothed_kd has no teacher; give --teacher MODEL.pt")
        self.alpha = alpha
        self.temperature = temperature
        self.divergence = str(divergence)
        self.teacher = Teacher.load(teacher, task, dropout=teacher_dropout)

    def forward(self, model: nn.Module, sample: dict[str, Any], reduce: bool = True) -> tuple[Tensor, int, dict]:
        """Compute the loss of one batch.

        Args:
            model: the student.
            sample: a fairseq batch with ``net_input``, ``target`` ``(B, T)`` and ``ntokens``.
            reduce: sum over the target tokens; otherwise the loss is one value a non-pad target token.

        Returns:
            The loss in nats, its divisor (``sample_size``), and the sums to log.

        Raises:
            FloatingPointError: the loss is not finite in training.
        """
        rows, target = self._target_rows(sample)
        logits = project(model, decoder_features(model, sample["net_input"], rows))
        log_probs = log_softmax(logits)
        ce_loss, nll_loss = label_smoothed_nll_loss(log_probs, target.unsqueeze(-1), self.eps, reduce=reduce)

        parameter_dtype = next(model.parameters()).dtype
        kd_loss = distillation_loss(
            self.teacher.logits(sample["net_input"], rows, dtype=parameter_dtype, training=self.training),
            logits,
            divergence=self.divergence,
            temperature=self.temperature,
            student_log_probs=log_probs,
        )
        if reduce:
            kd_loss = kd_loss.sum()
        loss = self.alpha * ce_loss + (1 - self.alpha) * kd_loss
        if self.training:
            _require_finite(ce=ce_loss, kd=kd_loss)

        sample_size = sample["target"].size(0) if self.sentence_avg else sample["ntokens"]
        logging_output = {
            "loss": loss.data,
            "nll_loss": nll_loss.data,
            "kd_loss": kd_loss.data,
            "ntokens": sample["ntokens"],
            "nsentences": sample["target"].size(0),
            "sample_size": sample_size,
        }
        if self.report_accuracy:
            logging_output["n_correct"] = log_probs.argmax(dim=-1).eq(target).sum().item()
            logging_output["total"] = target.numel()
        return loss, sample_size, logging_output

    def _target_rows(self, sample: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Positions in the flattened target that enter the loss, int64 ``(N)``, and their tokens ``(N)``."""
        target = sample["target"]
        scored = target.ne(self.padding_idx)
        scored[:, : self.ignore_prefix_size] = False
        rows = scored.flatten().nonzero().squeeze(1)
        return rows, target.flatten().index_select(0, rows)

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Aggregate over batches and processes; adds ``kd_loss`` to what the parent logs."""
        super().reduce_metrics(logging_outputs)
        kd_loss = sum(log.get("kd_loss", 0) for log in logging_outputs)
        ntokens = sum(log.get("ntokens", 0) for log in logging_outputs)
        metrics.log_scalar("kd_loss", kd_loss / ntokens / math.log(2), ntokens, round=3)


def _require_finite(**parts: Tensor) -> None:
    """Stop a training whose loss is lost, naming the part that went first."""
    # one test for the whole batch, because each costs a wait for the device
    if torch.isfinite(sum(part.detach().sum() for part in parts.values())):
        return
    broken = [name for name, part in parts.items() if not torch.isfinite(part).all()] or list(parts)
    raise FloatingPointError(
        f"the {' and '.join(broken)} part of the loss is not finite; lower the learning rate, lengthen the warm-up, "
        "or train in fp32; if only kd is named, look at the teacher"
    )
