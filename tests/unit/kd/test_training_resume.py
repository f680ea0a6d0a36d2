"""Wherever a training is stopped or killed, the resumed one writes the bytes of an uninterrupted one."""

import os
import signal

import pytest
import torch

import tiny_loop
from ekd_nmt.common.errors import Interrupted, UserError
from ekd_nmt.common.signals import STOP_SIGNALS
from kd import attempts, checkpoints
from kd.checkpoints import BEST, BEST_COPY, LAST, PREVIOUS
from tiny_loop import UPDATES, Killed, call_after, kill, result, run
from tiny_training import UPDATES_AN_EPOCH

NAMES = (LAST, PREVIOUS, BEST, BEST_COPY)

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # they train, through fairseq


# within an epoch, at the end of an epoch before its validation, and at the end of training
@pytest.mark.parametrize("update", [1, UPDATES_AN_EPOCH, UPDATES_AN_EPOCH + 2, UPDATES])
def test_stopped_at_an_update(start, uninterrupted_training, update):
    loop = start()
    call_after(loop.trainer, "train_step", update, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    with pytest.raises(Interrupted, match=f"SIGUSR1 at update {update}: progress is saved"):
        run(loop)
    loop = start()
    assert loop.updates == update
    assert loop.log == [f"resuming from update {update} ({loop.folder / LAST})"]
    assert result(run(loop)) == uninterrupted_training


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_stopped_while_validating(start, uninterrupted_training, number):
    loop = start()
    call_after(loop.trainer, "valid_step", 1, lambda: os.kill(os.getpid(), number))
    with pytest.raises(Interrupted, match=f"{number.name} at update {UPDATES_AN_EPOCH}"):
        run(loop)
    assert result(run(start())) == uninterrupted_training


def test_stopped_before_the_first_update(start, uninterrupted_training):
    loop = start()
    loop.stop_signal = signal.SIGTERM
    with pytest.raises(Interrupted, match="SIGTERM at update 1"):
        run(loop)
    assert result(run(start())) == uninterrupted_training


def test_stopped_again_and_again(start, uninterrupted_training):
    for updates in range(1, UPDATES + 1):
        loop = start()
        call_after(loop.trainer, "train_step", 1, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted, match=f"SIGTERM at update {updates}:"):
            run(loop)
    loop = start()
    assert loop.updates == UPDATES
    assert result(run(loop)) == uninterrupted_training


def test_signal_handlers_are_restored(start):
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    loop = start()
    loop.stop_signal = signal.SIGTERM
    with pytest.raises(Interrupted):
        run(loop)
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("train_step", 2),  # before anything is saved
        ("save_checkpoint", 1),  # a checkpoint is written and not yet in place
        ("train_step", UPDATES - 1),
        ("save_checkpoint", 2),
    ],
)
def test_killed(start, uninterrupted_training, method, call):
    loop = start()
    call_after(loop.trainer, method, call, kill)
    with pytest.raises(Killed):
        run(loop)
    assert result(run(start())) == uninterrupted_training


def test_killed_while_a_checkpoint_is_written(start, uninterrupted_training, monkeypatch):
    loop = start()

    def half(state, file):
        file.write(b"half")
        raise Killed

    call_after(loop.trainer, "train_step", UPDATES_AN_EPOCH + 1, lambda: monkeypatch.setattr(torch, "save", half))
    with pytest.raises(Killed):
        run(loop)
    monkeypatch.undo()
    assert result(run(start())) == uninterrupted_training


def test_a_finished_training_is_not_repeated(start, uninterrupted_training):
    run(start())
    loop = start()
    call_after(loop.trainer, "train_step", 1, kill)
    assert result(run(loop)) == uninterrupted_training


def test_tokens_and_their_seconds_are_kept(start):
    whole = run(start("whole"))
    loop = start()
    call_after(loop.trainer, "train_step", UPDATES_AN_EPOCH + 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        run(loop)
    resumed = start()
    assert (resumed.target_tokens, resumed.update_seconds) == (loop.target_tokens, loop.update_seconds)
    assert 0 < resumed.target_tokens < whole.target_tokens
    assert run(resumed).target_tokens == whole.target_tokens
    assert resumed.update_seconds > loop.update_seconds
    assert start().tokens_per_second == resumed.tokens_per_second > 0


# copies of the new one as the best, also of the second save; the last one becomes the previous one
@pytest.mark.parametrize(("name", "call"), [("_copy", 1), ("_copy", 2), ("_copy", 3), ("second_name", 1)])
@pytest.mark.parametrize("after", [False, True])
def test_killed_while_checkpoints_are_replaced(start, uninterrupted_training, monkeypatch, name, call, after):
    loop, original, calls = start(), getattr(checkpoints, name), []

    def killing(*paths):
        calls.append(paths)
        if len(calls) < call or after:
            original(*paths)
        if len(calls) == call:
            raise Killed

    monkeypatch.setattr(checkpoints, name, killing)
    with pytest.raises(Killed):
        run(loop)
    monkeypatch.undo()
    assert result(run(start())) == uninterrupted_training
    assert {path.name for path in loop.folder.iterdir()} == {*NAMES, "model.pt", "attempts.jsonl", "pulse"}


@pytest.mark.parametrize("update", range(2, UPDATES + 1))
def test_a_kill_costs_at_most_the_interval(start, uninterrupted_training, update):
    loop = start()
    call_after(loop.trainer, "train_step", update, kill)
    with pytest.raises(Killed):
        run(loop, checkpoint_updates=2)
    loop = start()
    # the update during the kill does not count
    assert loop.updates >= update - 2
    assert loop.attempt.repeated == update - 1 - loop.updates < 2
    assert result(run(loop)) == uninterrupted_training


def test_checkpoints_by_the_clock(start, uninterrupted_training):
    loop = start()
    call_after(loop.trainer, "train_step", 3, kill)
    with pytest.raises(Killed):
        run(loop, checkpoint_minutes=1e-9)
    loop = start()
    assert loop.updates == 2
    assert result(run(loop)) == uninterrupted_training


def test_a_checkpoint_within_a_validation(start, uninterrupted_training):
    loop = start()
    call_after(loop.trainer, "valid_step", 1, kill)
    with pytest.raises(Killed):
        run(loop, checkpoint_minutes=1e-9)
    loop = start()
    assert (loop.updates, loop.unvalidated) == (UPDATES_AN_EPOCH, 1)
    assert result(run(loop)) == uninterrupted_training


def test_attempts_are_counted(start):
    loop = start()
    call_after(loop.trainer, "train_step", UPDATES_AN_EPOCH + 3, kill)
    with pytest.raises(Killed):
        run(loop)
    folder = run(start()).folder
    found = attempts.read(folder)
    assert [(each["update"], each["repeated"]) for each in found] == [(0, 0), (UPDATES_AN_EPOCH, 2)]
    assert {each["pid"] for each in found} == {os.getpid()}
    with (folder / "attempts.jsonl").open("a") as handle:
        handle.write('{"update": 1')  # truncated by a kill
    assert attempts.read(folder) == found


@pytest.mark.parametrize("call", [1, 2])
def test_nothing_is_replaced_after_another_process_has_taken_over(configuration, tmp_path, call):
    calls = []

    def refuse():
        calls.append(None)
        if len(calls) == call:  # before a checkpoint is written, and before it replaces another one
            raise UserError("another training has taken over")

    loop = tiny_loop.start(configuration, tmp_path, before_saving=refuse)
    with pytest.raises(UserError, match="taken over"):
        run(loop)
    assert not any((tmp_path / name).exists() for name in NAMES)
