"""The divergences between the teacher's distribution p and the student's q, other than KL(p ‖ q).

To add one, write a function here, name it in :data:`DIVERGENCES` and in ``ekd_nmt.config.types.Divergence``, and write
its definition into ``tests/unit/kd/test_fused_loss.py``. :mod:`kd.fused_loss` does the rest, with the whole
distribution as with the top k.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Divergence = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def reverse_kl(log_q: Tensor, log_p: Tensor) -> tuple[Tensor, Tensor]:
    """KL(q ‖ p) = Σ_e q_e (log q_e - log p_e) over events e.

    Args:
        log_q: the student's log-probabilities ``(n, events)``, finite.
        log_p: the teacher's, of the same shape.

    Returns:
        The terms of the sum, and its derivatives by q_e, up to a constant within each row. Both ``(n, events)``.
    """
    log_ratio = log_q - log_p
    return log_q.exp() * log_ratio, log_ratio


# KL(p ‖ q) is not among them: its derivative p / q overflows, so kd.fused_loss has a closed form for it.
DIVERGENCES: dict[str, Divergence] = {"reverse_kl": reverse_kl}
