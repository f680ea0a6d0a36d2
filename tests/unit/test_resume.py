"""Wherever a training is stopped or killed, going on ends in the bytes of an undisturbed run."""

import os
import signal
from types import SimpleNamespace

import pytest
import torch

import tiny_driver
from cli import STOP_SIGNALS, UserError
from kd import attempts, checkpoints
from kd.checkpoints import BEST, LAST, PREVIOUS, newest_as_last
from kd.driver import Interrupted
from tiny_driver import UPDATES, Killed, call_after, kill, result, run
from tiny_training import UPDATES_AN_EPOCH

NAMES = (LAST, PREVIOUS, BEST)

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
        ("save_checkpoint", 1),  # a checkpoint is written, and not yet in place
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
    """As `truncate` of the shell does, which damages all names of a file."""
    os.truncate(path, path.stat().st_size // 2)


def interrupted_at(start, update: int, **changes):
    """A training that was stopped at an update."""
    driver = start()
    call_after(driver.trainer, "train_step", update, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        run(driver, **changes)
    return driver


def test_the_checkpoint_before_a_damaged_one_stands_in(start, undisturbed):
    folder = interrupted_at(start, UPDATES - 1, checkpoint_updates=1).folder
    truncate(folder / LAST)
    driver = start()
    assert driver.updates == UPDATES - 2
    assert driver.said[0].startswith(f"warning: {folder / LAST} is damaged and will not be used (")
    assert driver.said[1:] == [
        f"taking {folder / PREVIOUS} instead; the updates after it are repeated",
        f"going on from update {UPDATES - 2} ({folder / LAST})",
        "made before and made again: 1 of the updates that follow",
    ]
    assert result(run(driver)) == undisturbed


def test_the_best_checkpoint_stands_in_for_two_damaged_ones(start, undisturbed):
    folder = interrupted_at(start, UPDATES - 1, checkpoint_updates=1).folder
    for name in (LAST, PREVIOUS):
        truncate(folder / name)
    driver = start()
    assert driver.updates == UPDATES_AN_EPOCH
    assert f"taking {folder / BEST} instead; the updates after it are repeated" in driver.said
    assert result(run(driver)) == undisturbed


@pytest.mark.parametrize("damage", [truncate, lambda path: path.write_bytes(b"")])
def test_without_a_usable_checkpoint_it_starts_anew(start, undisturbed, damage):
    folder = run(start()).folder
    for name in (LAST, PREVIOUS, BEST):
        damage(folder / name)
    driver = start()
    assert driver.updates == 0
    assert f"warning: {folder}: no usable checkpoint is left; training starts anew" in driver.said
    assert result(run(driver)) == undisturbed


def test_a_damaged_best_checkpoint_is_restored_from_its_twin(start, undisturbed):
    folder = run(start(), max_epoch=1).folder
    truncate(folder / BEST)
    driver = start()
    assert driver.updates == UPDATES_AN_EPOCH
    assert (folder / BEST).read_bytes() == (folder / LAST).read_bytes()
    assert result(run(driver)) == undisturbed


def test_without_the_best_checkpoint_it_starts_anew(start, undisturbed):
    folder = interrupted_at(start, UPDATES - 1, checkpoint_updates=1).folder
    truncate(folder / BEST)
    driver = start()
    assert driver.updates == 0
    assert result(run(driver)) == undisturbed


# the new one is copied as the best, of the second save too; the last one becomes the previous one
@pytest.mark.parametrize(("name", "call"), [("_copy", 1), ("_copy", 2), ("second_name", 1)])
@pytest.mark.parametrize("after", [False, True])
def test_killed_while_checkpoints_change_places(start, undisturbed, monkeypatch, name, call, after):
    driver, original, calls = start(), getattr(checkpoints, name), []

    def killing(*paths):
        calls.append(paths)
        if len(calls) < call or after:
            original(*paths)
        if len(calls) == call:
            raise Killed

    monkeypatch.setattr(checkpoints, name, killing)
    with pytest.raises(Killed):
        run(driver)
    monkeypatch.undo()
    assert result(run(start())) == undisturbed
    assert {path.name for path in driver.folder.iterdir()} == {*NAMES, "model.pt", "attempts.jsonl", "pulse"}


@pytest.mark.parametrize("update", range(2, UPDATES + 1))
def test_a_kill_costs_no_more_than_the_interval(start, undisturbed, update):
    driver = start()
    call_after(driver.trainer, "train_step", update, kill)
    with pytest.raises(Killed):
        run(driver, checkpoint_updates=2)
    driver = start()
    # the update under way counts for nothing
    assert driver.updates >= update - 2
    assert driver.attempt.repeated == update - 1 - driver.updates < 2
    assert result(run(driver)) == undisturbed


def test_checkpoints_by_the_clock(start, undisturbed):
    driver = start()
    call_after(driver.trainer, "train_step", 3, kill)
    with pytest.raises(Killed):
        run(driver, checkpoint_minutes=1e-9)
    driver = start()
    assert driver.updates == 2
    assert result(run(driver)) == undisturbed


def test_a_checkpoint_is_due_in_a_validation_too(start, undisturbed):
    driver = start()
    call_after(driver.trainer, "valid_step", 1, kill)
    with pytest.raises(Killed):
        run(driver, checkpoint_minutes=1e-9)
    driver = start()
    assert (driver.updates, driver.unvalidated) == (UPDATES_AN_EPOCH, 1)
    assert result(run(driver)) == undisturbed


def test_attempts_are_counted(start):
    driver = start()
    call_after(driver.trainer, "train_step", UPDATES_AN_EPOCH + 3, kill)
    with pytest.raises(Killed):
        run(driver)
    folder = run(start()).folder
    found = attempts.read(folder)
    assert [(each["update"], each["repeated"]) for each in found] == [(0, 0), (UPDATES_AN_EPOCH, 2)]
    assert {each["pid"] for each in found} == {os.getpid()}
    with (folder / "attempts.jsonl").open("a") as handle:
        handle.write('{"update": 1')  # a kill cut it off
    assert attempts.read(folder) == found


def test_nothing_is_replaced_once_another_process_has_taken_over(configuration, tmp_path):
    def refuse():
        raise UserError("another training has taken over")

    driver = tiny_driver.start(configuration, tmp_path, before_saving=refuse)
    with pytest.raises(UserError, match="taken over"):
        run(driver)
    assert not list(tmp_path.glob("checkpoint*"))


def test_what_only_an_interruption_needs_is_removed(start):
    folder = run(start()).folder
    assert {path.name for path in folder.iterdir()} >= set(NAMES)
    checkpoints.remove_spare(folder)
    assert sorted(path.name for path in folder.glob("checkpoint*")) == [BEST, LAST]
    assert checkpoints.bytes_on_disk(folder) == (folder / BEST).stat().st_size + (folder / LAST).stat().st_size


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

    monkeypatch.setattr(checkpoints, "os", SimpleNamespace(link=refuse, replace=os.replace, fsync=os.fsync))
    (tmp_path / BEST).write_bytes(b"best")
    (tmp_path / LAST).write_bytes(b"old")
    checkpoints.second_name(tmp_path / BEST, tmp_path / LAST)
    assert (tmp_path / LAST).read_bytes() == b"best"
    assert {path.name for path in tmp_path.iterdir()} == {BEST, LAST}
