"""Label-smoothed cross-entropy and word-level distillation in one pass over the student's logits, gradient included.

Composed of separate operations, the two losses and their backward pass read and write the N x V matrix of a batch a
dozen times, which dominates a small model's step. Here each block of rows is processed while it is in the processor's
cache: the exponentials are computed once, and losses and gradient follow from them in closed form.

Notation, for one target position: student's logits z over V tokens; q = softmax(z); target token t; label smoothing ε,
distributed over the other tokens, ε' = ε / (V - 1); weight of the cross-entropy α; temperature T.

    CE    = (1 - ε - ε') (-log q_t) + ε' Σ_v (-log q_v)            as fairseq's label_smoothed_cross_entropy
    dCE/dz_v = q_v - (1 - ε - ε') [v = t] - ε'

The teacher is either the whole distribution (log-probabilities p of all V tokens), or its k most likely tokens and the
total probability of all others, p_R. With q = softmax(u) and u = z / T, the divergence D is one of

    KL(p ‖ q) = Σ_e p_e (log p_e - log q_e)        dD/du_v = q_v - p_v
    another, see kd/divergences.py                 dD/du_v = q_v (h_e - Σ_e q_e h_e), h_e = dD/dq_e, e the event of v

over all tokens; or over k + 1 events, the last of which is any of the other tokens, with q_R = Σ q_v over these and
dKL(p ‖ q)/du_v = q_v (1 - p_R / q_R) for each; or again over all tokens, with p_R redistributed over the others in
proportion to a given distribution s, such as the teacher's average tail: p_v = p_R s_v / s_R. A teacher that was
trained with label smoothing has a tenth of its probability in its tails, of which a single event keeps only the sum.

The loss is α CE + (1 - α) T² D (Hinton, Vinyals and Dean 2015; α = 0.5 and T = 1 in arXiv 2605.09924).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kd.divergences import DIVERGENCES

BLOCK_BYTES = 2**20  # of the logits of a block on a CPU: about the cache of one core
_TINY = 1e-36  # a denominator that does not overflow single precision
_LOG_OF_NOTHING = -1e4  # instead of -inf, because 0 * -inf is NaN


@dataclass(frozen=True)
class TopK:
    """A teacher's k most likely tokens of N target positions, and the rest of its distribution as one event."""

    ids: Tensor  # int64 (N, k), distinct within a row
    log_probs: Tensor  # (N, k), at the temperature of the distillation
    tail: Tensor  # (N), log-probability of all other tokens together; -inf if there are none
    shape: Tensor | None = None  # (V), positive: the tail is redistributed in proportion to it; None: it is one event

    def __getitem__(self, rows: slice) -> TopK:
        return TopK(self.ids[rows], self.log_probs[rows], self.tail[rows], self.shape)

    def dense(self) -> Tensor:
        """Log-probabilities of all tokens ``(N, V)``; needs a shape."""
        assert self.shape is not None
        rest = 1 - self.shape[self.ids].sum(dim=1)
        scale = self.tail.clamp(min=_LOG_OF_NOTHING) - rest.clamp(min=torch.finfo(rest.dtype).tiny).log()
        return (scale.unsqueeze(1) + self.shape.log()).scatter_(1, self.ids, self.log_probs)


Teaching = Tensor | TopK  # (N, V) log-probabilities, or the k tokens and the rest


@dataclass(frozen=True)
class Weights:
    """Weights and temperature of the loss, named as in the module's notation."""

    epsilon: float = 0.0
    alpha: float = 1.0
    temperature: float = 1.0
    divergence: str = "forward_kl"  # KL(p ‖ q), or a name of kd.divergences.DIVERGENCES


class Losses(NamedTuple):
    """Losses in nats, each ``(N)``, or summed over the positions and ``()``. Only ``total`` carries a gradient."""

    total: Tensor  # α CE + (1 - α) T² D
    nll: Tensor  # -log q_t
    distillation: Tensor  # T² D, zero without a teacher


def fused_loss(
    logits: Tensor, target: Tensor, weights: Weights, teaching: Teaching | None = None, *, reduce: bool = True
) -> Losses:
    """The losses of N target positions.

    Args:
        logits: the student's, ``(N, V)``, any floating type; the computation is in float32, for float64 in float64.
        target: int64 ``(N)``.
        weights: see the class; ``alpha`` has no effect without a teacher.
        teaching: the teacher's distributions at the temperature of ``weights``, without gradient; None computes the
            cross-entropy alone.
        reduce: sum over the positions.
    """
    return Losses(*_FusedLoss.apply(logits, target, weights, teaching, reduce))


class _FusedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, target: Tensor, weights: Weights, teaching: Teaching | None, reduce: bool
    ) -> tuple[Tensor, ...]:
        dtype = torch.promote_types(logits.dtype, torch.float32)
        losses = torch.zeros(len(Losses._fields), len(logits), dtype=dtype, device=logits.device)
        # not in half precision, in which small entries would underflow before the backward pass applies the loss scale
        gradient = torch.empty_like(logits, dtype=dtype) if ctx.needs_input_grad[0] else None
        block = _rows_at_a_time(logits, dtype)
        for start in range(0, len(logits), block):
            rows = slice(start, start + block)
            taught = None if teaching is None else teaching[rows]
            block_gradient = None if gradient is None else gradient[rows]
            _compute(logits[rows].to(dtype), target[rows, None], weights, taught, losses[:, rows], block_gradient)
        ctx.gradient, ctx.dtype = gradient, logits.dtype
        # copies, because fairseq changes a loss in place, which autograd forbids for views
        results = tuple(loss.clone() for loss in (losses.sum(dim=1) if reduce else losses))
        ctx.mark_non_differentiable(*results[1:])
        return results

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_total: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        gradient = ctx.gradient
        # usually 1, which saves a pass over memory on the CPU; on a GPU, the test would synchronise
        if grad_total.dim() or grad_total.device.type != "cpu" or grad_total.item() != 1:
            gradient = gradient * (grad_total.unsqueeze(1) if grad_total.dim() else grad_total)
        return gradient.to(ctx.dtype), None, None, None, None


def _rows_at_a_time(logits: Tensor, dtype: torch.dtype) -> int:
    """Rows of a block: as many as fit into the cache of a core; on a GPU all, because launching kernels is costly."""
    count, size = logits.shape
    return max(1, BLOCK_BYTES // (size * dtype.itemsize) if logits.device.type == "cpu" else count)


def _compute(
    z: Tensor, target: Tensor, weights: Weights, teaching: Teaching | None, losses: Tensor, gradient: Tensor | None
) -> None:
    """Write ``losses`` ``(3, n)`` and, unless it is None, ``gradient`` ``(n, V)`` of a block of n positions."""
    size = z.size(1)
    alpha = 1.0 if teaching is None else weights.alpha
    other = weights.epsilon / (size - 1)
    hit = 1 - weights.epsilon - other
    exps, norm, log_norm = _exponentials(z)
    nll = log_norm - z.gather(1, target)
    total = hit * nll
    if other:
        total += other * (size * log_norm - z.sum(dim=1, keepdim=True))
    losses[1] = nll.squeeze(1)
    if teaching is None:
        slope = exps.div_(norm) if gradient is not None else None
    else:
        heat, weight = weights.temperature, 1 - alpha
        if heat == 1.0:  # both losses share a softmax
            kl, slope = _divergence(z, exps, norm, log_norm, teaching, weights.divergence, alpha, weight)
        else:
            warm = z / heat
            kl, slope = _divergence(warm, *_exponentials(warm), teaching, weights.divergence, 0.0, weight * heat)
            slope += exps.mul_(alpha / norm)
        losses[2] = kl.squeeze(1) * heat**2
        total = alpha * total + weight * heat**2 * kl
    losses[0] = total.squeeze(1)
    if gradient is not None and slope is not None:
        torch.sub(slope, alpha * other, out=gradient)
        gradient.scatter_add_(1, target, torch.full_like(nll, -alpha * hit))


def _exponentials(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``exp(z - max z)``, its sum over the vocabulary, and ``log Σ exp z``."""
    top = z.amax(dim=1, keepdim=True)
    exps = torch.sub(z, top).exp_()
    norm = exps.sum(dim=1, keepdim=True)
    return exps, norm, norm.log().add_(top)


def _divergence(
    u: Tensor,
    exps: Tensor,
    norm: Tensor,
    log_norm: Tensor,
    teaching: Teaching,
    name: str,
    keep: float,
    weight: float,
) -> tuple[Tensor, Tensor]:
    """The divergence D ``(n, 1)`` of softmax(u), and ``keep · q + weight · dD/du`` ``(n, V)``; overwrites ``exps``."""
    if isinstance(teaching, TopK):
        if teaching.shape is None:
            return _divergence_of_events(u, exps, norm, log_norm, teaching, name, keep, weight)
        if name == "forward_kl":
            return _divergence_of_spread_tail(u, exps, norm, log_norm, teaching, keep, weight)
        teaching = teaching.dense()
    log_q = u - log_norm
    q = exps.div_(norm)
    if name == "forward_kl":
        p = teaching.exp()
        kl = -(p * log_q.sub_(teaching)).sum(dim=1, keepdim=True)
        return kl, q.mul_(keep + weight).sub_(p, alpha=weight)
    terms, slope = DIVERGENCES[name](log_q, teaching)
    slope = slope - (q * slope).sum(dim=1, keepdim=True)
    return terms.sum(dim=1, keepdim=True), q.mul_(slope.mul_(weight).add_(keep))


def _divergence_of_events(
    u: Tensor, exps: Tensor, norm: Tensor, log_norm: Tensor, teaching: TopK, name: str, keep: float, weight: float
) -> tuple[Tensor, Tensor]:
    """:func:`_divergence` over the k tokens, and the rest as one event."""
    ids, log_p = teaching.ids, teaching.log_probs
    log_p_rest = teaching.tail.unsqueeze(1).clamp(min=_LOG_OF_NOTHING)
    log_q = u.gather(1, ids) - log_norm
    q = log_q.exp()
    # a sum, because 1 - Σ q has no digits left where the student is confident
    rest = exps.scatter_(1, ids, 0.0).sum(dim=1, keepdim=True)
    log_q_rest = rest.clamp(min=torch.finfo(rest.dtype).tiny).log() - norm.log()
    if name == "forward_kl":
        p, p_rest = log_p.exp(), log_p_rest.exp()
        kl = (p * (log_p - log_q)).sum(dim=1, keepdim=True) + p_rest * (log_p_rest - log_q_rest)
        slope = (keep + weight) * q - weight * p
        # without p_rest / q_rest, which overflows where the student's probability of the rest is zero
        return kl, exps.mul_((keep + weight) / norm - weight * p_rest / rest.clamp(min=_TINY)).scatter_(1, ids, slope)
    terms, slope = DIVERGENCES[name](torch.cat([log_q, log_q_rest], dim=1), torch.cat([log_p, log_p_rest], dim=1))
    slope = slope - (torch.cat([q, rest / norm], dim=1) * slope).sum(dim=1, keepdim=True)
    slope = slope.mul_(weight).add_(keep)
    return terms.sum(dim=1, keepdim=True), exps.mul_(slope[:, -1:] / norm).scatter_(1, ids, q * slope[:, :-1])


def _divergence_of_spread_tail(
    u: Tensor, exps: Tensor, norm: Tensor, log_norm: Tensor, teaching: TopK, keep: float, weight: float
) -> tuple[Tensor, Tensor]:
    """:func:`_divergence` KL(p ‖ q) over all tokens, without building the teacher's N x V distribution."""
    ids, log_p, shape = teaching.ids, teaching.log_probs, teaching.shape
    assert shape is not None
    log_p_rest = teaching.tail.unsqueeze(1).clamp(min=_LOG_OF_NOTHING)
    p, p_rest = log_p.exp(), log_p_rest.exp()
    scores = u.gather(1, ids)
    taken = shape[ids]  # s_v of the k tokens
    rest = (1 - taken.sum(dim=1, keepdim=True)).clamp(min=torch.finfo(u.dtype).tiny)
    scale = p_rest / rest  # p_v = scale · s_v for the others
    # Σ p_v u_v and Σ p_v log s_v over the others: the sum over all tokens minus that over the k
    linear = scale * ((u @ shape).unsqueeze(1) - (taken * scores).sum(dim=1, keepdim=True))
    entropy = scale * ((shape @ shape.log()) - (taken * taken.log()).sum(dim=1, keepdim=True))
    kl = (p * (log_p - scores + log_norm)).sum(dim=1, keepdim=True)
    kl += p_rest * (log_p_rest - rest.log() + log_norm) + entropy - linear
    slope = (keep + weight) * (scores - log_norm).exp() - weight * p
    exps.mul_((keep + weight) / norm).addcmul_(scale, shape.unsqueeze(0), value=-weight)
    return kl, exps.scatter_(1, ids, slope)
