"""Wherever a training is stopped or killed, going on ends in the bytes of an undisturbed run."""

import os
import signal
from types import SimpleNamespace

import pytest
import torch

import tiny_driver
from cli import STOP_SIGNALS
from kd import checkpoints
from kd.checkpoints import BEST, LAST, newest_as_last
from kd.driver import Interrupted
from tiny_driver import UPDATES, Killed, call_after, kill, result, run
from tiny_training import UPDATES_AN_EPOCH

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # they train, through fairseq


@pytest.fixture
def start(configuration, tmp_path):
    """Start a training, or go on with it: ``start("name")`` has its checkpoints in a folder of that name."""
    return lambda name="run", **checkpoint: tiny_driver.start(configuration, tmp_path / name, **checkpoint)


@pytest.fixture(scope="module")
def undisturbed(configuration, tmp_path_factory):
    return result(run(tiny_driver.start(configuration, tmp_path_factory.mktemp("undisturbed"))))


# in mid-epoch, at the end of an epoch (its validation is still due), and at the end of all
@pytest.mark.parametrize("update", [1, UPDATES_AN_EPOCH, UPDATES_AN_EPOCH + 2, UPDATES])
def test_stopped_at_an_update(start, undisturbed, update):
    driver = start()
    call_after(driver.trainer, "train_step", update, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    with pytest.raises(Interrupted, match=f"SIGUSR1 at update {update}: progress is saved"):
        run(driver)
    driver = start()
    assert driver.updates == update
    assert driver.said == [f"going on from update {update} ({driver.folder / LAST})"]
    assert result(run(driver)) == undisturbed


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_stopped_while_validating(start, undisturbed, number):
    driver = start()
    call_after(driver.trainer, "valid_step", 1, lambda: os.kill(os.getpid(), number))
    with pytest.raises(Interrupted, match=f"{number.name} at update {UPDATES_AN_EPOCH}"):
        run(driver)
    assert result(run(start())) == undisturbed


def test_stopped_before_the_first_update(start, undisturbed):
    driver = start()
    driver.stop_signal = signal.SIGTERM
    with pytest.raises(Interrupted, match="SIGTERM at update 1"):
        run(driver)
    assert result(run(start())) == undisturbed


def test_stopped_again_and_again(start, undisturbed):
    for updates in range(1, UPDATES + 1):
        driver = start()
        call_after(driver.trainer, "train_step", 1, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted, match=f"SIGTERM at update {updates}:"):
            run(driver)
    driver = start()
    assert driver.updates == UPDATES
    assert result(run(driver)) == undisturbed


def test_signal_handlers_are_given_back(start):
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    driver = start()
    driver.stop_signal = signal.SIGTERM
    with pytest.raises(Interrupted):
        run(driver)
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("train_step", 2),  # before anything is saved
        ("save_checkpoint", 1),  # the best checkpoint is written, the last one is not yet its second name
        ("train_step", UPDATES - 1),
        ("save_checkpoint", 2),
    ],
)
def test_killed(start, undisturbed, method, call):
    driver = start()
    call_after(driver.trainer, method, call, kill)
    with pytest.raises(Killed):
        run(driver)
    assert result(run(start())) == undisturbed


def test_killed_while_a_checkpoint_is_written(start, undisturbed, monkeypatch):
    driver = start()

    def half(state, file):
        file.write(b"half")
        raise Killed

    call_after(driver.trainer, "train_step", UPDATES_AN_EPOCH + 1, lambda: monkeypatch.setattr(torch, "save", half))
    with pytest.raises(Killed):
        run(driver)
    monkeypatch.undo()
    assert result(run(start())) == undisturbed


def test_a_finished_training_is_not_repeated(start, undisturbed):
    run(start())
    driver = start()
    call_after(driver.trainer, "train_step", 1, kill)
    assert result(run(driver)) == undisturbed


def test_tokens_and_their_seconds_are_kept(start):
    whole = run(start("whole"))
    driver = start()
    call_after(driver.trainer, "train_step", UPDATES_AN_EPOCH + 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        run(driver)
    resumed = start()
    assert (resumed.target_tokens, resumed.update_seconds) == (driver.target_tokens, driver.update_seconds)
    assert 0 < resumed.target_tokens < whole.target_tokens
    assert run(resumed).target_tokens == whole.target_tokens
    assert resumed.update_seconds > driver.update_seconds
    assert start().tokens_per_second == resumed.tokens_per_second > 0


def truncate(path) -> None:
    content = path.read_bytes()
    path.unlink()  # it may be the second name of another checkpoint
    path.write_bytes(content[: len(content) // 2])


def test_the_best_checkpoint_stands_in_for_a_damaged_last_one(start, undisturbed):
    driver = start()
    call_after(driver.trainer, "train_step", UPDATES - 1, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        run(driver)
    truncate(driver.folder / LAST)
    driver = start()
    assert driver.updates == UPDATES_AN_EPOCH
    assert driver.said[0].startswith(f"warning: {driver.folder / LAST} is damaged and will not be used (")
    assert driver.said[1] == f"taking {driver.folder / BEST} instead; the epochs after it are repeated"
    assert len(driver.said) == 3
    assert result(run(driver)) == undisturbed


@pytest.mark.parametrize("damage", [truncate, lambda path: path.write_bytes(b"")])
def test_without_a_usable_checkpoint_it_starts_anew(start, undisturbed, damage):
    folder = run(start()).folder
    for name in (LAST, BEST):
        damage(folder / name)
    driver = start()
    assert driver.updates == 0
    assert f"warning: {folder}: no usable checkpoint is left; training starts anew" in driver.said
    assert result(run(driver)) == undisturbed


def test_the_best_checkpoint_is_needed_to_end(start, undisturbed):
    folder = run(start(), max_epoch=1).folder
    truncate(folder / BEST)
    driver = start()
    assert driver.updates == 0
    assert result(run(driver)) == undisturbed


def test_a_file_that_may_not_be_read_is_not_given_up(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    (tmp_path / LAST).touch()
    monkeypatch.setattr("kd.checkpoints.checkpoint_utils.load_checkpoint_to_cpu", refuse)
    with pytest.raises(PermissionError):
        newest_as_last(tmp_path, print)
    assert (tmp_path / LAST).exists()


def test_copy_where_hard_links_are_refused(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no hard links here")

    monkeypatch.setattr(checkpoints, "os", SimpleNamespace(link=refuse, replace=os.replace))
    (tmp_path / BEST).write_bytes(b"best")
    (tmp_path / LAST).write_bytes(b"old")
    checkpoints.second_name(tmp_path / BEST, tmp_path / LAST)
    assert (tmp_path / LAST).read_bytes() == b"best"
    assert {path.name for path in tmp_path.iterdir()} == {BEST, LAST}
