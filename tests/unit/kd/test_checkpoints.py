"""kd/checkpoints.py: which checkpoint a training resumes from when some are damaged, and which files are kept."""

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from ekd_nmt.common.errors import Interrupted, UserError
from kd import checkpoints
from kd.checkpoints import BEST, BEST_COPY, LAST, PREVIOUS, newest_as_last
from tiny_loop import UPDATES, call_after, result, run
from tiny_training import UPDATES_AN_EPOCH

NAMES = (LAST, PREVIOUS, BEST, BEST_COPY)

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # they train, through fairseq


def truncate(path) -> None:
    """Truncate in place, which damages all hard links of a file."""
    os.truncate(path, path.stat().st_size // 2)


def interrupted_at(start, update: int, **changes):
    """A training that was stopped at an update."""
    loop = start()
    call_after(loop.trainer, "train_step", update, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        run(loop, **changes)
    return loop


def test_resumes_from_the_checkpoint_before_a_damaged_one(start, uninterrupted_training):
    folder = interrupted_at(start, UPDATES - 1, checkpoint_updates=1).folder
    truncate(folder / LAST)
    loop = start()
    assert loop.updates == UPDATES - 2
    assert loop.log[0].startswith(f"warning: {folder / LAST} is damaged and will not be used (")
    assert loop.log[1:] == [
        f"using {folder / PREVIOUS} instead; the updates after it are repeated",
        f"resuming from update {UPDATES - 2} ({folder / LAST})",
        "repeating 1 updates that no checkpoint has",
    ]
    assert result(run(loop)) == uninterrupted_training


def test_resumes_from_the_best_checkpoint_if_two_are_damaged(start, uninterrupted_training):
    folder = interrupted_at(start, UPDATES - 1, checkpoint_updates=1).folder
    for name in (LAST, PREVIOUS):
        truncate(folder / name)
    loop = start()
    assert loop.updates == UPDATES_AN_EPOCH
    assert f"using {folder / BEST} instead; the updates after it are repeated" in loop.log
    assert result(run(loop)) == uninterrupted_training


@pytest.mark.parametrize("damage", [truncate, lambda path: path.write_bytes(b"")])
def test_starts_from_scratch_without_a_usable_checkpoint(start, uninterrupted_training, damage):
    folder = run(start()).folder
    for name in NAMES:
        damage(folder / name)
    loop = start()
    assert loop.updates == 0
    assert f"warning: {folder}: no checkpoint is usable (kept as *.unusable); training starts from scratch" in loop.log
    assert {path.name for path in folder.glob("*.unusable")} == {f"{name}.unusable" for name in NAMES}
    assert result(run(loop)) == uninterrupted_training


def test_a_damaged_best_checkpoint_is_restored_from_its_twin(start, uninterrupted_training):
    folder = run(start(), max_epoch=1).folder
    truncate(folder / BEST)
    loop = start()
    assert loop.updates == UPDATES_AN_EPOCH
    assert (folder / BEST).read_bytes() == (folder / LAST).read_bytes()
    assert result(run(loop)) == uninterrupted_training


def test_a_damaged_best_checkpoint_is_restored_from_its_copy(start, uninterrupted_training):
    folder = interrupted_at(start, UPDATES - 1, checkpoint_updates=1).folder
    truncate(folder / BEST)
    loop = start()
    assert loop.updates == UPDATES - 1
    assert (folder / BEST).read_bytes() == (folder / BEST_COPY).read_bytes()
    assert result(run(loop)) == uninterrupted_training


def state(updates: int, best: float, best_updates: int) -> str:
    extra = {"best": best, "best_updates": best_updates, "is_best": updates == best_updates}
    return json.dumps({"extra_state": extra, "optimizer_history": [{"num_updates": updates}]})


OLD, NEW = state(10, 5.0, 10), state(20, 6.0, 20)


@pytest.mark.parametrize(
    ("found", "left"),
    [
        pytest.param([NEW, OLD, OLD, OLD], [NEW, OLD, NEW, NEW], id="killed before the best one is replaced"),
        pytest.param([NEW, OLD, NEW, OLD], [NEW, OLD, NEW, NEW], id="killed before its copy is replaced"),
        pytest.param(
            [state(20, 5.0, 20), OLD, OLD, OLD],
            [state(20, 5.0, 20), OLD, state(20, 5.0, 20), state(20, 5.0, 20)],
            id="as good as the one before",
        ),
        pytest.param([state(15, 5.0, 10), OLD, NEW, OLD], [state(15, 5.0, 10), OLD, OLD, OLD], id="best one is newer"),
        pytest.param([state(15, 5.0, 10), NEW, NEW, NEW], [NEW] * 4, id="all others are newer"),
        pytest.param([state(15, 6.0, 10), None, OLD, OLD], None, id="the best one is of another run"),
    ],
)
def test_the_best_checkpoint_is_the_best_of_the_last(found, left, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "kd.checkpoints.load_checkpoint_to_cpu",
        lambda path: json.loads(Path(path).read_text(encoding="utf-8")),
    )
    for name, text in zip(NAMES, found, strict=True):
        if text is not None:
            (tmp_path / name).write_text(text, encoding="utf-8")
    newest_as_last(tmp_path, print)
    assert left is None or [(tmp_path / name).read_text(encoding="utf-8") for name in NAMES] == left
    if left is None:
        assert (tmp_path / LAST).read_text(encoding="utf-8") == (tmp_path / BEST).read_text(encoding="utf-8") == OLD


def test_starts_from_scratch_without_the_best_checkpoint_and_keeps_the_others(start, uninterrupted_training):
    folder = interrupted_at(start, UPDATES - 1, checkpoint_updates=1).folder
    last = (folder / LAST).read_bytes()
    for name in (BEST, BEST_COPY):
        truncate(folder / name)
    loop = start()
    assert loop.updates == 0
    assert (folder / f"{LAST}.unusable").read_bytes() == last
    assert result(run(loop)) == uninterrupted_training


def test_out_of_memory_is_no_damage(start, monkeypatch):
    folder = interrupted_at(start, UPDATES - 1).folder
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("checkpoint*")}

    def fail(path):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")

    monkeypatch.setattr("kd.checkpoints.load_checkpoint_to_cpu", fail)
    with pytest.raises(UserError, match="does not fit into memory while it is read"):
        start()
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("checkpoint*")} == before


def test_checkpoints_for_interruptions_are_removed_at_the_end(start):
    folder = run(start()).folder
    assert {path.name for path in folder.iterdir()} >= set(NAMES)
    checkpoints.remove_spare(folder)
    assert sorted(path.name for path in folder.glob("checkpoint*")) == [BEST, LAST]
    assert checkpoints.bytes_on_disk(folder) == (folder / BEST).stat().st_size + (folder / LAST).stat().st_size


def test_a_file_without_read_permission_is_kept(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    (tmp_path / LAST).touch()
    monkeypatch.setattr("kd.checkpoints.load_checkpoint_to_cpu", refuse)
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
