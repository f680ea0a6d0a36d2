"""kd/training_loop.py: when it validates, which checkpoint is the best, when it ends."""

import json
import os
import signal

import pytest
import torch

from ekd_nmt.common.errors import Interrupted
from kd.checkpoints import BEST, BEST_COPY, LAST
from kd.trainer import NotFinite
from kd.training_loop import TrainingLoop
from tiny_loop import call_after, result, run, same
from tiny_training import UPDATES_AN_EPOCH

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # they train, through fairseq


def test_history_has_every_epoch_once(start):
    _, history = result(run(start()))
    assert [(r["event"], r["epoch"], r["updates"]) for r in history] == [
        (event, epoch, epoch * UPDATES_AN_EPOCH) for epoch in (1, 2) for event in ("train", "valid")
    ]
    assert all({"loss", "nll_loss", "ppl"} <= record.keys() for record in history)
    assert "bleu" in history[-1]
    json.dumps(history, allow_nan=False)


# scores of the validations, whether a higher one is better, and the best epoch
@pytest.mark.parametrize(
    ("scores", "maximize", "best"),
    [([1.0, 3.0, 3.0, 2.0], True, 3), ([1.0, 3.0, 3.0, 2.0], False, 1), ([2.0, 1.0, 1.0, 4.0], False, 3)],
)
def test_best_checkpoint(start, scores, maximize, best):
    loop = start(maximize_best_checkpoint_metric=maximize)
    given, snapshots = iter(scores), {}

    def validate(epoch):
        snapshots[epoch] = {name: value.clone() for name, value in loop.model.state_dict().items()}
        return next(given)

    loop._validate = validate
    run(loop, max_epoch=len(scores))
    assert same(torch.load(loop.folder / BEST)["model"], snapshots[best])
    assert same(torch.load(loop.folder / LAST)["model"], snapshots[len(scores)])
    assert not same(snapshots[best], snapshots[len(scores)])


def validated(loop: TrainingLoop) -> list[int]:
    return [record["epoch"] for record in loop.history if record["event"] == "valid"]


def test_validation_interval_and_the_last_epoch(start):
    assert validated(run(start(), max_epoch=5, interval=2)) == [2, 4, 5]


def test_max_update_ends_within_an_epoch(start):
    loop = run(start(), max_update=UPDATES_AN_EPOCH + 1)
    assert (loop.updates, validated(loop)) == (UPDATES_AN_EPOCH + 1, [1, 2])
    whole = result(loop)
    loop = start("stopped")
    call_after(loop.trainer, "train_step", UPDATES_AN_EPOCH + 1, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        run(loop, max_update=UPDATES_AN_EPOCH + 1)
    assert result(run(start("stopped"), max_update=UPDATES_AN_EPOCH + 1)) == whole


def test_patience_survives_a_resume(start):
    def scored(name: str, scores: list[float]) -> TrainingLoop:
        loop = start(name)
        validate, given = loop._validate, iter(scores)
        loop._validate = lambda epoch: (validate(epoch), next(given))[1]
        return loop

    scores = [1.0, 2.0, 1.5, 1.9, 5.0]  # the fifth is not reached
    loop = run(scored("whole", scores), max_epoch=9, patience=2)
    assert validated(loop) == [1, 2, 3, 4]
    whole = result(loop)

    loop = scored("stopped", scores)
    call_after(loop.trainer, "train_step", 3 * UPDATES_AN_EPOCH + 1, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        run(loop, max_epoch=9, patience=2)
    loop = scored("stopped", scores[3:])
    assert (loop.best, loop.since_best) == (2.0, 1)
    assert result(run(loop, max_epoch=9, patience=2)) == whole


def poison_weight(weight: torch.Tensor) -> None:
    weight.data.fill_(float("nan"))


def poison_gradient(weight: torch.Tensor) -> None:
    weight.register_hook(lambda gradient: gradient * float("inf"))


@pytest.mark.parametrize(
    ("poison", "cause"),
    [(poison_weight, "the ce term of the loss is not finite"), (poison_gradient, "the gradient")],
)
def test_divergence_names_the_update_and_keeps_the_checkpoints(start, poison, cause):
    loop = start()
    weight = next(loop.model.parameters())
    call_after(loop.trainer, "train_step", UPDATES_AN_EPOCH + 1, lambda: poison(weight))
    with pytest.raises(NotFinite, match=rf"not finite at update {UPDATES_AN_EPOCH + 2} \({cause}\)"):
        run(loop)
    assert {path.name for path in loop.folder.iterdir()} == {LAST, BEST, BEST_COPY, "attempts.jsonl", "pulse"}
    assert start().updates == UPDATES_AN_EPOCH


def test_divergence_in_validation(start):
    loop = start()
    call_after(
        loop.trainer,
        "train_step",
        UPDATES_AN_EPOCH,
        lambda: loop.model.decoder.embed_tokens.weight.data.fill_(float("inf")),
    )
    with pytest.raises(NotFinite, match=rf"at update {UPDATES_AN_EPOCH} \(on the validation set\)"):
        run(loop)
    assert not (loop.folder / BEST).exists()


def test_infinite_perplexity_is_left_out(start):
    loop = start()
    loop._record("valid", 1, {"loss": 2000.0, "nll_loss": 2000.0, "ppl": float("inf")})
    assert "ppl" not in loop.history[-1]
    assert loop.history[-1]["loss"] == 2000
