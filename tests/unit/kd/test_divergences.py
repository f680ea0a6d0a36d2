"""kd/fused_loss.py: values of the divergences against an independent evaluation in numpy float64."""

import math

import numpy as np
import pytest
import torch

from kd.fused_loss import Weights, fused_loss

DIVERGENCES = ("forward_kl", "reverse_kl")
TEACHER = np.random.default_rng(3).normal(scale=3.0, size=(7, 50))
STUDENT = np.random.default_rng(4).normal(scale=3.0, size=(7, 50))


def probabilities(logits, temperature=1.0):
    weights = np.exp(np.asarray(logits, dtype=np.float64) / temperature)
    return weights / weights.sum(axis=-1, keepdims=True)


def kl(p, q):
    return np.array(
        [math.fsum(a * math.log(a / b) for a, b in zip(x, y, strict=True)) for x, y in zip(p, q, strict=True)]
    )


def distillation_loss(teacher, student, *, divergence="forward_kl", temperature=1.0):
    """The distillation loss of each row, from the logits of both."""
    wide = teacher.to(torch.promote_types(teacher.dtype, torch.float32))
    weights = Weights(alpha=0.0, temperature=temperature, reverse=divergence == "reverse_kl")
    target = torch.zeros(len(student), dtype=torch.int64)
    losses = fused_loss(student, target, weights, torch.log_softmax(wide / temperature, dim=-1), reduce=False)
    torch.testing.assert_close(losses.total, losses.distillation)
    return losses.total


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 7.0])
@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_values(divergence, temperature):
    p, q = probabilities(TEACHER, temperature), probabilities(STUDENT, temperature)
    expected = temperature**2 * (kl(p, q) if divergence == "forward_kl" else kl(q, p))
    logits = (torch.tensor(values, dtype=torch.float32) for values in (TEACHER, STUDENT))
    value = distillation_loss(*logits, divergence=divergence, temperature=temperature)
    assert value.dtype == torch.float32
    np.testing.assert_allclose(value.numpy(), expected, rtol=2e-5)


def test_known_value():
    def both(teacher, student):
        logits = [torch.tensor([values]).log() for values in (teacher, student)]
        return [distillation_loss(*logits, divergence=name).item() for name in DIVERGENCES]

    assert both([0.5, 0.25, 0.25], [0.25, 0.25, 0.5])[0] == pytest.approx(0.25 * math.log(2))
    forward, reverse = both([0.75, 0.25], [0.5, 0.5])
    assert forward == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert reverse == pytest.approx(0.5 * math.log(1 / 1.5) + 0.5 * math.log(2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_half_precision_is_reduced_in_float32(dtype, temperature):
    rng = np.random.default_rng(5)
    teacher, student = (torch.tensor(rng.normal(size=(4, 30000)), dtype=dtype) for _ in range(2))
    value = distillation_loss(teacher, student, temperature=temperature)
    assert value.dtype == torch.float32
    p, q = (probabilities(logits.double().numpy(), temperature) for logits in (teacher, student))
    np.testing.assert_allclose(value.numpy(), temperature**2 * kl(p, q), rtol=1e-4)


def test_extreme_logits_stay_finite():
    teacher = torch.tensor([[1000.0, 0.0, -1000.0]])
    student = torch.tensor([[-1000.0, 0.0, 1000.0]], requires_grad=True)
    loss = distillation_loss(teacher, student)
    loss.sum().backward()
    assert loss.item() == pytest.approx(2000)
    assert torch.isfinite(student.grad).all()
