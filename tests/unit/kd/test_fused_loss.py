"""kd/fused_loss.py: losses and gradients against separate operations in float64 with autograd."""

import itertools
import math
from dataclasses import replace
from typing import get_args

import pytest
import torch
from fairseq.criterions.label_smoothed_cross_entropy import label_smoothed_nll_loss

from ekd_nmt.config.types import Divergence
from kd import divergences, fused_loss
from kd.fused_loss import TopK, Weights

ROWS, SIZE = 37, 23
K = {"3 tokens": 3, "1 token": 1, "all but one": SIZE - 1, "all": SIZE}
DEFINITIONS = {  # terms of the sum over tokens, or over the k tokens and the rest
    "forward_kl": lambda log_p, log_q: log_p.exp() * (log_p - log_q),
    "reverse_kl": lambda log_p, log_q: log_q.exp() * (log_q - log_p),
}
DIVERGENCES = get_args(Divergence)
CASES = list(itertools.product(DIVERGENCES, (1.0, 2.5), (*K, *(f"{name}, spread" for name in K), "dense", None)))
SHAPE = torch.softmax(torch.linspace(-3, 3, SIZE, dtype=torch.float64), dim=0)


def draw(dtype: torch.dtype = torch.float64, spread: float = 2.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Student's logits, targets, teacher's logits."""
    generator = torch.Generator().manual_seed(5)
    student, teacher = spread * torch.randn(2, ROWS, SIZE, generator=generator, dtype=dtype)
    return student, torch.randint(SIZE, (ROWS,), generator=generator), teacher


def top(log_probs: torch.Tensor, k: int) -> TopK:
    best = log_probs.topk(k, dim=-1)
    rest = log_probs.scatter(-1, best.indices, -math.inf)
    return TopK(best.indices, best.values, rest.logsumexp(dim=-1))


def events(log_probs: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of the chosen tokens and of all others together, ``(N, k + 1)``, or ``(N, V)`` for all."""
    if ids.size(1) == log_probs.size(1):
        return log_probs.gather(1, ids)
    rest = log_probs.scatter(1, ids, -math.inf).logsumexp(dim=1, keepdim=True)
    return torch.cat([log_probs.gather(1, ids), rest], dim=1)


def spread(log_probs: torch.Tensor, best: TopK) -> torch.Tensor:
    """Log-probabilities of all tokens, those not among the best in proportion to SHAPE."""
    result = torch.empty_like(log_probs)
    for row, ids in enumerate(best.ids.tolist()):
        others = [token for token in range(SIZE) if token not in ids]
        mass = log_probs[row, others].exp().sum()
        result[row, others] = (mass * SHAPE[others] / SHAPE[others].sum()).log()
        result[row, ids] = log_probs[row, ids]
    return result


def reference(logits, target, weights: Weights, teacher_logits, kind) -> tuple[torch.Tensor, ...]:
    """Composed of separate operations, a row each: total, nll, distillation."""
    log_probs = torch.log_softmax(logits, dim=-1)
    cross_entropy, nll = label_smoothed_nll_loss(log_probs, target.unsqueeze(-1), weights.epsilon, reduce=False)
    if kind is None:
        return cross_entropy, nll, torch.zeros_like(nll)
    teacher, student = (torch.log_softmax(each / weights.temperature, -1) for each in (teacher_logits, logits))
    if kind.endswith(", spread"):
        teacher = spread(teacher, top(teacher, K[kind.removesuffix(", spread")]))
    elif kind != "dense":
        ids = top(teacher, K[kind]).ids
        teacher, student = events(teacher, ids), events(student, ids)
    divergence = DEFINITIONS[weights.divergence](teacher, student).sum(dim=1) * weights.temperature**2
    total = weights.alpha * cross_entropy + (1 - weights.alpha) * divergence
    return total, nll, divergence


def teaching(teacher_logits: torch.Tensor, weights: Weights, kind):
    log_probs = torch.log_softmax(teacher_logits / weights.temperature, dim=-1)
    if kind is None or kind == "dense":
        return None if kind is None else log_probs
    found = top(log_probs, K[kind.removesuffix(", spread")])
    return replace(found, shape=SHAPE.to(log_probs.dtype)) if kind.endswith(", spread") else found


@pytest.mark.parametrize(("divergence", "temperature", "kind"), CASES)
@pytest.mark.parametrize("reduce", [True, False])
def test_losses_and_gradient_are_those_of_separate_operations(divergence, temperature, kind, reduce):
    weights = Weights(epsilon=0.1, alpha=0.3, temperature=temperature, divergence=divergence)
    logits, target, teacher_logits = draw()
    expected_logits, own_logits = (logits.clone().requires_grad_() for _ in range(2))
    expected = reference(expected_logits, target, weights, teacher_logits, kind)
    own = fused_loss.fused_loss(own_logits, target, weights, teaching(teacher_logits, weights, kind), reduce=reduce)
    for name, left, right in zip(own._fields, own, expected, strict=True):
        torch.testing.assert_close(left, right.sum() if reduce else right, rtol=1e-10, atol=1e-10, msg=name)
    upstream = torch.linspace(0.5, 2, ROWS, dtype=torch.float64)
    (own.total * (3.0 if reduce else upstream)).sum().backward()
    (expected[0] * (3.0 if reduce else upstream)).sum().backward()
    assert expected_logits.grad.abs().max() > 0.1
    torch.testing.assert_close(own_logits.grad, expected_logits.grad, rtol=1e-9, atol=1e-10)


def test_the_configuration_the_loss_and_these_tests_know_the_same_divergences():
    assert set(DIVERGENCES) == {"forward_kl", *divergences.DIVERGENCES} == set(DEFINITIONS)


@pytest.mark.parametrize(
    ("divergence", "p", "q", "value"),
    [
        ("forward_kl", [0.5, 0.25, 0.25], [0.25, 0.25, 0.5], 0.25 * math.log(2)),
        ("forward_kl", [0.75, 0.25], [0.5, 0.5], 0.75 * math.log(1.5) + 0.25 * math.log(0.5)),
        ("reverse_kl", [0.75, 0.25], [0.5, 0.5], 0.5 * math.log(1 / 1.5) + 0.5 * math.log(2)),
    ],
)
def test_known_values(divergence, p, q, value):
    teacher, student = torch.tensor([p]).log(), torch.tensor([q]).log()
    weights = Weights(alpha=0.0, divergence=divergence)
    losses = fused_loss.fused_loss(student, torch.zeros(1, dtype=torch.int64), weights, teacher)
    assert losses.total.item() == losses.distillation.item() == pytest.approx(value)


@pytest.mark.parametrize("kind", ["3 tokens", "3 tokens, spread", "dense", None])
def test_block_size_changes_nothing(kind, monkeypatch):
    weights = Weights(epsilon=0.1, alpha=0.5)
    logits, target, teacher_logits = draw(torch.float32)
    results = []
    for size in (1, 4 * SIZE * 10, 2**30):  # blocks of one row, of 10 rows and the last of 7, of all rows
        monkeypatch.setattr(fused_loss, "BLOCK_BYTES", size)
        own = logits.clone().requires_grad_()
        losses = fused_loss.fused_loss(own, target, weights, teaching(teacher_logits, weights, kind), reduce=False)
        losses.total.sum().backward()
        results.append((losses.total.detach(), own.grad))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("kind", ["1 token", "all", "1 token, spread", "all, spread", "dense"])
@pytest.mark.parametrize("spread", [60.0, 400.0])
def test_confident_students_and_teachers_give_finite_numbers(divergence, kind, spread):
    weights = Weights(epsilon=0.1, alpha=0.5, divergence=divergence)
    logits, target, teacher_logits = draw(torch.float32, spread)
    logits.requires_grad_()
    losses = fused_loss.fused_loss(logits, target, weights, teaching(teacher_logits, weights, kind))
    losses.total.backward()
    assert all(torch.isfinite(values).all() for values in (*losses, logits.grad))


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("kind", ["3 tokens", "dense"])
def test_a_student_equal_to_its_teacher_has_no_distillation_loss_and_no_gradient(kind, temperature, divergence):
    logits, target, _ = draw()
    logits.requires_grad_()
    weights = Weights(alpha=0.0, temperature=temperature, divergence=divergence)
    teacher = logits.detach() + 5  # other logits, the same distribution
    losses = fused_loss.fused_loss(logits, target, weights, teaching(teacher, weights, kind))
    losses.total.backward()
    assert losses.distillation.item() == pytest.approx(0, abs=1e-12)
    assert logits.grad.abs().max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32_and_its_gradient_survives_the_loss_scale(dtype):
    weights = Weights(epsilon=0.1, alpha=0.5)
    logits, target, teacher_logits = draw(torch.float32)
    half = logits.to(dtype)
    wide = half.float().requires_grad_()
    half.requires_grad_()
    small, scale = 1e-9, 2.0**20  # the effect of a large vocabulary and of fp16's loss scale
    for own in (half, wide):
        losses = fused_loss.fused_loss(own, target, weights, teaching(teacher_logits, weights, "3 tokens"))
        assert losses.total.dtype == torch.float32
        (losses.total * small * scale).backward()
    torch.testing.assert_close(half.grad.float(), wide.grad, rtol=1e-2, atol=1e-6)


def test_without_gradient_none_is_computed(monkeypatch):
    computed, compute = [], fused_loss._compute
    monkeypatch.setattr(fused_loss, "_compute", lambda *args: (computed.append(args[-1] is not None), compute(*args)))
    logits, target, _ = draw(torch.float32)
    for needed in (True, False):
        fused_loss.fused_loss(logits.requires_grad_(needed), target, Weights(0.1))
    assert computed == [True, False]


def test_the_rest_of_a_confident_student_keeps_its_digits():
    weights = Weights(alpha=0.0)
    logits, target, teacher_logits = draw(torch.float32, 25.0)
    exact = fused_loss.fused_loss(
        logits.double(), target, weights, teaching(teacher_logits.double(), weights, "3 tokens"), reduce=False
    )
    found = fused_loss.fused_loss(logits, target, weights, teaching(teacher_logits, weights, "3 tokens"), reduce=False)
    torch.testing.assert_close(found.total.double(), exact.total, rtol=1e-4, atol=1e-4)


def test_the_gradient_is_finite_if_the_student_gives_the_rest_no_probability():
    logits = torch.full((1, 50), -95.0)
    logits[:, :8] = 0.0
    logits.requires_grad_()
    found = TopK(torch.arange(8)[None], torch.full((1, 8), math.log(0.05 / 8)), torch.tensor([math.log(0.95)]))
    fused_loss.fused_loss(logits, torch.zeros(1, dtype=torch.int64), Weights(alpha=0.0), found).total.backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[0, 8:].sum() < 0


def test_no_positions_give_a_loss_of_zero():
    logits = torch.zeros(0, SIZE, requires_grad=True)
    losses = fused_loss.fused_loss(logits, torch.zeros(0, dtype=torch.int64), Weights(0.1))
    losses.total.backward()
    assert losses.total.item() == 0
    assert logits.grad.shape == (0, SIZE)
