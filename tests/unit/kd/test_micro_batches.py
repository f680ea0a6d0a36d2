"""kd/parts.py: an update of a batch in parts is the update of the batch."""

import pytest
import torch

import tiny_loop
from kd.micro_batches import split
from tiny_models import make_criterion


@pytest.fixture
def pad(task):
    return task.target_dictionary.pad()


def test_parts_are_the_batch(sample, pad):
    parts = list(split(sample, 2, pad))
    assert len(parts) == 2
    assert torch.equal(torch.cat([part["id"] for part in parts]), sample["id"])
    assert torch.equal(torch.cat([part["target"] for part in parts]), sample["target"])
    for key, whole in sample["net_input"].items():
        assert torch.equal(torch.cat([part["net_input"][key] for part in parts]), whole)
    for key in ("ntokens", "nsentences"):
        assert sum(part[key] for part in parts) == sample[key]


@pytest.mark.parametrize("parts", [1, 3, 64])
def test_no_part_is_empty(sample, pad, parts):
    found = list(split(sample, parts, pad))
    assert len(found) == min(parts, sample["nsentences"])
    assert all(part["nsentences"] == len(part["target"]) > 0 for part in found)


def test_gradients_of_parts_add_up(task, student, sample, pad):
    criterion = make_criterion(task, "label_smoothed_rows")
    student.eval()  # without dropout
    loss, tokens, _ = criterion(student, sample)
    loss.backward()
    whole = {name: weight.grad.clone() for name, weight in student.named_parameters()}
    student.zero_grad()
    counted = 0
    for part in split(sample, 3, pad):
        loss, size, _ = criterion(student, part)
        loss.backward()
        counted += size
    assert counted == tokens
    for name, weight in student.named_parameters():
        torch.testing.assert_close(weight.grad, whole[name], msg=name)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_training_in_parts_makes_the_same_updates(configuration, tmp_path):
    configuration.model.dropout = 0.0
    runs = {
        parts: tiny_loop.run(tiny_loop.start(configuration, tmp_path / str(parts), parts=parts)) for parts in (1, 4)
    }
    assert runs[1].updates == runs[4].updates
    assert runs[1].target_tokens == runs[4].target_tokens
    for one, four in zip(runs[1].history, runs[4].history, strict=True):
        assert one.keys() == four.keys()
        assert four["loss"] == pytest.approx(one["loss"], rel=1e-4)
