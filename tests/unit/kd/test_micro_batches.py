"""kd/micro_batches.py: an update of micro-batches is the update of the whole batch."""

import pytest
import torch

import tiny_loop
from kd.micro_batches import split
from tiny_models import make_criterion


@pytest.fixture
def pad(task):
    return task.target_dictionary.pad()


def test_micro_batches_add_up_to_the_batch(sample, pad):
    found = list(split(sample, 2, pad))
    assert len(found) == 2
    assert torch.equal(torch.cat([each["id"] for each in found]), sample["id"])
    assert torch.equal(torch.cat([each["target"] for each in found]), sample["target"])
    for key, whole in sample["net_input"].items():
        assert torch.equal(torch.cat([each["net_input"][key] for each in found]), whole)
    for key in ("ntokens", "nsentences"):
        assert sum(each[key] for each in found) == sample[key]


@pytest.mark.parametrize("count", [1, 3, 64])
def test_no_micro_batch_is_empty(sample, pad, count):
    found = list(split(sample, count, pad))
    assert len(found) == min(count, sample["nsentences"])
    assert all(each["nsentences"] == len(each["target"]) > 0 for each in found)


def test_gradients_add_up(task, student, sample, pad):
    criterion = make_criterion(task, "label_smoothed_rows")
    student.eval()  # without dropout
    loss, tokens, _ = criterion(student, sample)
    loss.backward()
    whole = {name: weight.grad.clone() for name, weight in student.named_parameters()}
    student.zero_grad()
    counted = 0
    for micro_batch in split(sample, 3, pad):
        loss, size, _ = criterion(student, micro_batch)
        loss.backward()
        counted += size
    assert counted == tokens
    for name, weight in student.named_parameters():
        torch.testing.assert_close(weight.grad, whole[name], msg=name)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_training_with_micro_batches_makes_the_same_updates(configuration, tmp_path, monkeypatch):
    monkeypatch.setattr(configuration.model, "dropout", 0.0)  # for this test; deep copies share the model's options
    runs = {
        count: tiny_loop.run(tiny_loop.start(configuration, tmp_path / str(count), micro_batches=count))
        for count in (1, 4)
    }
    assert runs[1].updates == runs[4].updates
    assert runs[1].target_tokens == runs[4].target_tokens
    for one, four in zip(runs[1].history, runs[4].history, strict=True):
        assert one.keys() == four.keys()
        assert four["loss"] == pytest.approx(one["loss"], rel=1e-4)
