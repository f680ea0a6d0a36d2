"""The workflow's two fairseq criteria, ``label_smoothed_rows`` and ``label_smoothed_kd``.

The first is fairseq's ``label_smoothed_cross_entropy``, computed in one pass over the positions that are not padding.
The second adds word-level distillation:

    loss = α · CE_label-smoothed + (1 − α) · T² · D(p_teacher, p_student)

summed over the vocabulary and the target tokens that are not padding; fairseq's trainer divides the gradient by the
number of target tokens. D and the computation are those of :mod:`kd.fused_loss`. Source: arXiv 2605.09924 (α = 0.5,
T = 1). The teacher's distributions are read from a cache (:mod:`kd.cache`) or computed batch by batch.
"""

# no "from __future__ import annotations": fairseq derives command-line options from the dataclass's field types
import math
from dataclasses import dataclass, field
from typing import Any, get_args

import torch
from torch import Tensor, nn

from ekd_nmt.common.errors import UserError
from ekd_nmt.config.types import Divergence
from kd.fairseq_api import (
    ChoiceEnum,
    FairseqTask,
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
    metrics,
    register_criterion,
)
from kd.fused_loss import Teaching, Weights, fused_loss
from kd.projection import decoder_features, project
from kd.teacher import CachedTeacher, Teacher


@register_criterion("label_smoothed_rows", dataclass=LabelSmoothedCrossEntropyCriterionConfig)
class LabelSmoothedRowsCriterion(LabelSmoothedCrossEntropyCriterion):
    """Label-smoothed cross-entropy; the same options, values and logs as fairseq's, in fewer passes over memory."""

    def forward(self, model: nn.Module, sample: dict[str, Any], reduce: bool = True) -> tuple[Tensor, int, dict]:
        """Compute the loss of one batch.

        Args:
            model: the student.
            sample: a fairseq batch with ``id``, ``net_input``, ``target`` ``(B, T)`` and ``ntokens``.
            reduce: sum over the target tokens; otherwise the loss is one value a non-pad target token.

        Returns:
            The loss in nats, its divisor (``sample_size``), and the sums to log.

        Raises:
            FloatingPointError: the loss is not finite in training.
        """
        rows, target = self._target_rows(sample)
        # first, because it synchronises with the GPU, which the student's forward pass keeps busy
        teaching = self.teaching(model, sample, rows)
        logits = project(model, decoder_features(model, sample["net_input"], rows))
        losses = fused_loss(logits, target, self.weights, teaching, reduce=reduce)
        if self.training:
            _require_finite(ce=losses.nll, **({} if teaching is None else {"kd": losses.distillation}))

        sample_size = sample["target"].size(0) if self.sentence_avg else sample["ntokens"]
        logging_output = {
            "loss": losses.total.data,
            "nll_loss": losses.nll.data,
            "ntokens": sample["ntokens"],
            "nsentences": sample["target"].size(0),
            "sample_size": sample_size,
        }
        if teaching is not None:
            logging_output["kd_loss"] = losses.distillation.data
        if self.report_accuracy:
            logging_output["n_correct"] = logits.argmax(dim=-1).eq(target).sum().item()
            logging_output["total"] = target.numel()
        return losses.total, sample_size, logging_output

    @property
    def weights(self) -> Weights:
        """The weights of the loss terms."""
        return Weights(epsilon=self.eps)

    def teaching(self, model: nn.Module, sample: dict[str, Any], rows: Tensor) -> Teaching | None:
        """The teacher's distributions of the chosen target positions ``(N)``; None without a teacher."""
        return None

    def _target_rows(self, sample: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Positions of the flattened target that enter the loss, int64 ``(N)``, and their tokens ``(N)``."""
        target = sample["target"]
        scored = target.ne(self.padding_idx)
        scored[:, : self.ignore_prefix_size] = False
        rows = scored.flatten().nonzero().squeeze(1)
        return rows, target.flatten().index_select(0, rows)


@dataclass
class LabelSmoothedKDCriterionConfig(LabelSmoothedCrossEntropyCriterionConfig):
    """Options of ``label_smoothed_kd``, besides those of ``label_smoothed_cross_entropy``."""

    alpha: float = field(default=0.5, metadata={"help": "weight of the cross-entropy; distillation gets 1 - alpha"})
    temperature: float = field(default=1.0, metadata={"help": "temperature of both distributions in the distillation"})
    divergence: ChoiceEnum(list(get_args(Divergence))) = field(  # type: ignore[valid-type]  # fairseq's way
        default="forward_kl", metadata={"help": "divergence between the teacher's and the student's distribution"}
    )
    teacher: str = field(default="", metadata={"help": "the teacher's checkpoint, model.pt (required)"})
    teacher_cache: str = field(
        default="", metadata={"help": "folder of that teacher's cache; without it, the teacher runs on every batch"}
    )
    tail: ChoiceEnum(["redistribute", "bucket"]) = field(  # type: ignore[valid-type]
        default="redistribute",
        metadata={
            "help": "probability of the tokens that a top-k cache lacks: redistribute it over them, or one bucket"
        },
    )
    teacher_dropout: bool = field(
        default=False, metadata={"help": "keep the teacher's dropout active in training, as the reference code does"}
    )


@register_criterion("label_smoothed_kd", dataclass=LabelSmoothedKDCriterionConfig)
class LabelSmoothedKDCriterion(LabelSmoothedRowsCriterion):
    """See the module. Logs ``loss``, ``nll_loss`` (with ``ppl``) and ``kd_loss``, all in bits a token.

    Raises:
        UserError: no teacher; a teacher or a cache that does not match the task; alpha or temperature out of range.
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
        teacher_cache: str = "",
        tail: str = "redistribute",
        teacher_dropout: bool = False,
    ):
        super().__init__(task, sentence_avg, label_smoothing, ignore_prefix_size, report_accuracy)
        if not 0 <= alpha <= 1:
            raise UserError(f"--alpha is {alpha}; the weight of the cross-entropy must lie in 0 to 1")
        if not 0 < temperature < math.inf:
            raise UserError(f"--temperature is {temperature}; it must be a positive number")
        if not teacher:
            raise UserError("label_smoothed_kd has no teacher; give --teacher MODEL.pt")
        if teacher_cache and teacher_dropout:
            raise UserError("--teacher-dropout is random in every batch, a cache is fixed; give only one of the two")
        self.alpha = alpha
        self.temperature = temperature
        self.divergence = str(divergence)
        self.teacher: Teacher | CachedTeacher
        if teacher_cache:
            self.teacher = CachedTeacher.open(teacher_cache, task, teacher, temperature, tail=str(tail))
        else:
            self.teacher = Teacher.load(teacher, task, temperature, dropout=teacher_dropout)

    @property
    def weights(self) -> Weights:
        """The weights of the loss terms."""
        return Weights(self.eps, self.alpha, self.temperature, self.divergence)

    def teaching(self, model: nn.Module, sample: dict[str, Any], rows: Tensor) -> Teaching:
        """The teacher's distributions of the chosen target positions ``(N)``."""
        dtype = next(model.parameters()).dtype
        return self.teacher.teach(sample, rows, dtype=dtype, training=self.training)

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Aggregate over batches and ranks: the parent's values, and ``kd_loss``."""
        super().reduce_metrics(logging_outputs)
        kd_loss = sum(log.get("kd_loss", 0) for log in logging_outputs)
        ntokens = sum(log.get("ntokens", 0) for log in logging_outputs)
        metrics.log_scalar("kd_loss", kd_loss / ntokens / math.log(2), ntokens, round=3)


def _require_finite(**terms: Tensor) -> None:
    """Stop a training that diverged.

    Raises:
        FloatingPointError: names the loss terms that are not finite.
    """
    # one test for the whole batch, because each synchronises with the GPU
    if torch.isfinite(torch.stack([term.detach().sum() for term in terms.values()]).sum()):
        return
    broken = [name for name, term in terms.items() if not torch.isfinite(term).all()] or list(terms)
    raise FloatingPointError(
        f"the {' and '.join(broken)} term of the loss is not finite; lower the learning rate, lengthen the warm-up, "
        "or train in fp32; if only kd is named, check the teacher"
    )
