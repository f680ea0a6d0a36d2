"""Divergences between a teacher's and a student's next-token distributions. Pure torch, no fairseq.

All functions work on the last dimension, the vocabulary of size V, and keep the leading ones: ``(…, V)`` to ``(…)``.
They take log-probabilities, because a student's log-softmax also serves its cross-entropy and is to be computed once.

Sources: Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network" (temperature and the factor
T²); Evolving Knowledge Distillation, arXiv 2605.09924 (the word-level loss for translation).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def log_softmax(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Log-probabilities ``log softmax(logits / T)``, at least in float32.

    Args:
        logits: any floating type, ``(…, V)``. Half precision is widened: sums over a vocabulary need float32.
        temperature: T > 0; above 1 it flattens the distribution.

    Returns:
        ``(…, V)``, float64 for float64 logits and float32 otherwise.
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    if temperature != 1.0:
        logits = logits.to(dtype) / temperature
    return torch.log_softmax(logits, dim=-1, dtype=dtype)


def forward_kl(teacher: Tensor, student: Tensor) -> Tensor:
    """``KL(p_T ‖ p_S) = Σ_v p_T(v) (log p_T(v) − log p_S(v))`` in nats, from log-probabilities ``(…, V)`` to ``(…)``.

    Makes the student cover all that the teacher finds likely. The divergence of Hinton et al. and of EKD.
    """
    return (teacher.exp() * (teacher - student)).sum(dim=-1)


def reverse_kl(teacher: Tensor, student: Tensor) -> Tensor:
    """``KL(p_S ‖ p_T) = Σ_v p_S(v) (log p_S(v) − log p_T(v))`` in nats, from log-probabilities ``(…, V)`` to ``(…)``.

    Makes the student avoid all that the teacher finds unlikely; it may settle on one of the teacher's modes.
    """
    return forward_kl(student, teacher)


DIVERGENCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"forward_kl": forward_kl, "reverse_kl": reverse_kl}


def distillation_loss(
    teacher_logits: Tensor,
    student_logits: Tensor,
    *,
    divergence: str = "forward_kl",
    temperature: float = 1.0,
    student_log_probs: Tensor | None = None,
) -> Tensor:
    """``T² · D(p_T, p_S)`` with both distributions at temperature T; Hinton et al. 2015, section 2.1.

    The gradient of D shrinks with 1/T²; the factor T² keeps its weight against the cross-entropy when T changes.

    Args:
        teacher_logits: ``(…, V)``, without gradient.
        student_logits: ``(…, V)``.
        divergence: a key of :data:`DIVERGENCES`.
        temperature: T > 0.
        student_log_probs: ``log_softmax(student_logits)`` where the caller has it; spares a pass when T = 1.

    Returns:
        ``(…)`` in nats, float32 (float64 for float64 logits).
    """
    if student_log_probs is None or temperature != 1.0:
        student_log_probs = log_softmax(student_logits, temperature)
    value = DIVERGENCES[divergence](log_softmax(teacher_logits, temperature), student_log_probs)
    return value * temperature**2
