"""The criterion ``label_smoothed_kd`` against an evaluation in float64 over the padded batch."""

import math
from copy import deepcopy

import pytest
import torch

from ekd_nmt.common.errors import UserError
from kd.fairseq_api import metrics
from tiny_models import assert_same_gradients, gradients, make_criterion, make_model


def reference_loss(student, teacher, sample, *, alpha, temperature=1.0, divergence="forward_kl", smoothing=0.1):
    """The whole loss in float64, written with probabilities over the padded batch and a mask."""
    with torch.no_grad():
        teacher_logits = teacher(**sample["net_input"])[0].double()
    logits = student(**sample["net_input"])[0].double()
    mask = (sample["target"] != 1).double()
    assert mask.sum() == sample["ntokens"]
    vocabulary = logits.size(-1)

    wanted = torch.full_like(logits, smoothing / (vocabulary - 1))
    wanted.scatter_(-1, sample["target"].unsqueeze(-1), 1 - smoothing)
    ce = -(wanted * torch.softmax(logits, -1).log()).sum(-1)

    p = torch.softmax(teacher_logits / temperature, -1)
    q = torch.softmax(logits / temperature, -1)
    kd = p * (p / q).log() if divergence == "forward_kl" else q * (q / p).log()
    kd = kd.sum(-1) * temperature * temperature
    nll = -torch.softmax(logits, -1).gather(-1, sample["target"].unsqueeze(-1)).squeeze(-1).log()
    loss = alpha * ce + (1 - alpha) * kd
    return tuple((value * mask).sum() for value in (loss, nll, kd))


@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl"])
@pytest.mark.parametrize(("alpha", "temperature"), [(0.5, 1.0), (0.0, 1.0), (1.0, 1.0), (0.3, 2.0)])
def test_loss_and_gradients_equal_float64(make_kd, student, sample, alpha, temperature, divergence):
    criterion = make_kd(alpha=alpha, temperature=temperature, divergence=divergence).train()
    other = deepcopy(student)
    loss, sample_size, log = criterion(student, sample)
    loss.backward()
    expected, nll, kd = reference_loss(
        other, criterion.teacher.model, sample, alpha=alpha, temperature=temperature, divergence=divergence
    )
    expected.backward()

    assert sample_size == sample["ntokens"] == 10
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert log["nll_loss"].item() == pytest.approx(nll.item(), rel=1e-6)
    assert log["kd_loss"].item() == pytest.approx(kd.item(), rel=1e-5)
    assert kd.item() > 1, "teacher and student are too similar for this test"
    assert_same_gradients(gradients(student), gradients(other))


def test_alpha_one_is_fairseqs_label_smoothed_cross_entropy(make_kd, task, student, sample):
    other = deepcopy(student)
    loss, _, log = make_kd(alpha=1.0, report_accuracy=True).train()(student, sample)
    loss.backward()
    plain = make_criterion(task, "label_smoothed_cross_entropy", report_accuracy=True).train()
    expected, _, expected_log = plain(other, sample)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert_same_gradients(gradients(student), gradients(other), tolerance=1e-6)
    assert log.pop("kd_loss") > 0
    assert log.keys() == expected_log.keys()
    for key in log:
        assert float(log[key]) == pytest.approx(float(expected_log[key]), rel=1e-6), key


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_ignored_prefix_and_sentence_average_follow_fairseq(make_kd, task, student, sample, alpha):
    options = {"ignore_prefix_size": 1, "sentence_avg": True}
    loss, size, log = make_kd(alpha=alpha, **options)(student, sample)
    expected, expected_size, _ = make_criterion(task, "label_smoothed_cross_entropy", **options)(student, sample)
    assert size == expected_size == 3
    assert ((loss - (1 - alpha) * log["kd_loss"]) / alpha).item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_student_equal_to_its_teacher_has_no_distillation_loss(make_kd, task, sample):
    criterion = make_kd(alpha=0.0)
    student = deepcopy(criterion.teacher.model).requires_grad_(True).eval()
    loss, _, log = criterion(student, sample)
    assert log["kd_loss"].item() == pytest.approx(0, abs=1e-5)
    loss.backward()
    assert max(g.abs().max() for g in gradients(student).values()) < 1e-5


def test_reduce_false_gives_one_value_a_token(make_kd, student, sample):
    criterion = make_kd()
    loss, _, log = criterion(student, sample, reduce=False)
    assert loss.shape == log["kd_loss"].shape == log["nll_loss"].shape == (10,)
    assert loss.sum().item() == pytest.approx(criterion(student, sample)[0].item(), rel=1e-6)


def test_padded_positions_do_not_count(make_kd, student, sample):
    criterion = make_kd().train()
    other, changed = deepcopy(student), deepcopy(sample)
    loss, _, _ = criterion(student, sample)
    loss.backward()
    # other tokens at padded positions, and three more padded columns
    previous, target = changed["net_input"]["prev_output_tokens"], changed["target"]
    previous[target.eq(1)] = 6
    changed["net_input"]["prev_output_tokens"] = torch.nn.functional.pad(previous, (0, 3), value=8)
    changed["target"] = torch.nn.functional.pad(target, (0, 3), value=1)
    expected, _, log = criterion(other, changed)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert log["ntokens"] == 10
    assert_same_gradients(gradients(student), gradients(other))


def test_a_batch_is_the_sum_of_its_sentences(make_kd, student, sample):
    criterion = make_kd()
    whole = criterion(student, sample)[0].item()
    total = 0.0
    for row in range(3):
        source = sample["net_input"]["src_tokens"][row]
        target = sample["target"][row]
        length = int(target.ne(1).sum())
        single = {
            "ntokens": length,
            "target": target[None, :length],
            "net_input": {
                "src_tokens": source[source.ne(1)][None],
                "src_lengths": source.ne(1).sum()[None],
                "prev_output_tokens": sample["net_input"]["prev_output_tokens"][row][None, :length],
            },
        }
        total += criterion(student, single)[0].item()
    assert whole == pytest.approx(total, rel=1e-5)


def test_only_scored_rows_are_projected(make_kd, student, sample):
    criterion = make_kd()
    seen = {}
    for name, model in {"student": student, "teacher": criterion.teacher.model}.items():
        model.decoder.output_projection.register_forward_hook(
            lambda _module, inputs, _output, name=name: seen.update({name: tuple(inputs[0].shape)})
        )
    criterion(student, sample)
    assert seen == {"student": (10, 8), "teacher": (10, 12)}


def test_a_decoder_without_separate_projection_gives_the_same_loss(make_kd, student, sample):
    class Whole(torch.nn.Module):
        """A decoder that returns logits only, as fairseq's convolutional one does."""

        def __init__(self, decoder):
            super().__init__()
            self.inner = decoder

        def forward(self, prev_output_tokens, encoder_out=None, **_unused):
            return self.inner(prev_output_tokens, encoder_out=encoder_out)

    criterion = make_kd().train()
    expected = criterion(student, sample)[0].item()
    for model in (student, criterion.teacher.model):
        model.decoder = Whole(model.decoder)
    loss, _, _ = criterion(student, sample)
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(make_kd, student, sample, dtype):
    criterion = make_kd().train()
    expected = criterion(student, sample)[0].item()
    student.to(dtype)
    loss, _, _ = criterion(student, sample)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected, rel=0.02)
    assert next(criterion.teacher.model.parameters()).dtype == dtype
    assert all(torch.isfinite(p.grad).all() and p.grad.dtype == dtype for p in student.parameters())


def test_a_loss_that_is_not_finite_names_its_term(make_kd, student, sample):
    criterion = make_kd().train()
    weight = criterion.teacher.model.decoder.output_projection.weight
    kept = weight.data.clone()
    weight.data[5] = math.nan
    with pytest.raises(FloatingPointError, match="the kd term of the loss is not finite"):
        criterion(student, sample)
    weight.data = kept
    student.decoder.output_projection.weight.data[5] = math.inf
    with pytest.raises(FloatingPointError, match="the ce and kd term"):
        criterion(student, sample)
    assert not torch.isfinite(criterion.eval()(student, sample)[0]), "validation stopped"


def test_metrics_are_in_bits_a_token_and_can_be_summed(make_kd):
    criterion = make_kd()
    logs = [
        {"loss": 6.0, "nll_loss": 4.0, "kd_loss": 2.0, "ntokens": 3, "sample_size": 3, "nsentences": 1},
        {"loss": 10.0, "nll_loss": 8.0, "kd_loss": 12.0, "ntokens": 5, "sample_size": 5, "nsentences": 2},
    ]
    summed = [{key: logs[0][key] + logs[1][key] for key in logs[0]}]
    assert criterion.logging_outputs_can_be_summed()
    for outputs in (logs, summed):
        with metrics.aggregate(new_root=True) as aggregate:
            criterion.reduce_metrics(outputs)
        values = aggregate.get_smoothed_values()
        assert values["loss"] == pytest.approx(16 / 8 / math.log(2), abs=5e-4)
        assert values["nll_loss"] == pytest.approx(12 / 8 / math.log(2), abs=5e-4)
        assert values["kd_loss"] == pytest.approx(14 / 8 / math.log(2), abs=5e-4)
        assert values["ppl"] == pytest.approx(math.exp(12 / 8), abs=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 1.5}, "--alpha is 1.5"),
        ({"alpha": math.nan}, "--alpha is nan"),
        ({"temperature": 0.0}, "--temperature is 0.0"),
        ({"temperature": math.inf}, "--temperature is inf"),
        ({"teacher": ""}, "give --teacher MODEL.pt"),
    ],
)
def test_options_out_of_range(make_kd, options, message):
    with pytest.raises(UserError, match=message):
        make_kd(**options)


def test_adaptive_softmax_is_refused(make_kd, student, sample):
    student.decoder.adaptive_softmax = torch.nn.Identity()
    with pytest.raises(UserError, match="--adaptive-softmax-cutoff"):
        make_kd()(student, sample)


def test_training_towards_the_teacher_works(make_kd, task, sample):
    """With pure distillation, the student comes close to the teacher."""
    criterion, student = make_kd(alpha=0.0).train(), make_model(task, seed=5)
    optimizer = torch.optim.Adam(student.parameters(), lr=0.02)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss, size, _ = criterion(student, sample)
        (loss / size).backward()
        optimizer.step()
        losses.append((loss / size).item())
    assert losses[-1] < 0.1 * losses[0]
