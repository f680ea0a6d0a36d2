"""kd/cache_writer.py: after an interruption or damage, a resumed run writes the bytes of an uninterrupted one."""

import json
import shutil
from dataclasses import replace

import pytest

import tiny_cache as tiny
from ekd_nmt.common.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore")  # models are built by fairseq, whose warnings are not ours


class Stopped(Exception):
    pass


def stop_after(calls: int):
    """A ``before_batch`` that raises after so many batches."""
    left = iter(range(calls))

    def check() -> None:
        if next(left, None) is None:
            raise Stopped

    return check


def test_stopped_at_every_batch(cache_request, uninterrupted_cache, tmp_path):
    total = []
    tiny.write(cache_request, tmp_path / "counted", before_batch=lambda: total.append(1))
    assert len(total) > 8
    for calls in range(len(total)):
        folder = tmp_path / str(calls)
        with pytest.raises(Stopped):
            tiny.write(cache_request, folder, before_batch=stop_after(calls))
        assert not (folder / "cache").exists()
        assert tiny.content(tiny.write(cache_request, folder)) == uninterrupted_cache
        assert not list((folder / "progress").iterdir()), "the work folder is not empty"


def test_finished_shards_are_not_touched_again(cache_request, uninterrupted_cache, tmp_path):
    batches_of_all = []
    tiny.write(cache_request, tmp_path / "counted", before_batch=lambda: batches_of_all.append(1))
    with pytest.raises(Stopped):
        tiny.write(cache_request, tmp_path, before_batch=stop_after(len(batches_of_all) - 1))
    before = {path.name: path.stat() for path in (tmp_path / "progress" / "cache").iterdir()}
    assert len(before) > 4
    repeated = []
    cache = tiny.write(cache_request, tmp_path, before_batch=lambda: repeated.append(1))
    assert 0 < len(repeated) < len(batches_of_all) / 2
    for name, status in before.items():
        after = (cache / name).stat()
        assert (after.st_ino, after.st_mtime_ns) == (status.st_ino, status.st_mtime_ns), name


DAMAGES = {
    "shard altered": ("cache/train.00001.npy", tiny.flip),
    "shard cut": ("cache/train.00001.npy", lambda path: path.write_bytes(path.read_bytes()[:-7])),
    "shard lost": ("cache/train.00001.npy", lambda path: path.unlink()),
    "tails altered": ("sidecars/train.00001.npy.tails.npy", tiny.flip),
    "tails lost": ("sidecars/train.00001.npy.tails.npy", lambda path: path.unlink()),
    "sidecar lost": ("sidecars/train.00001.npy.json", lambda path: path.unlink()),
    "sidecar empty": ("sidecars/train.00001.npy.json", lambda path: path.write_bytes(b"")),
    "sidecar of something else": ("sidecars/train.00001.npy.json", lambda path: path.write_text("[1]")),
    "seconds lost": ("seconds.json", lambda path: path.write_bytes(b"")),
}


@pytest.mark.parametrize(("name", "damage"), DAMAGES.values(), ids=DAMAGES)
def test_damage_in_the_work_folder_is_repaired(cache_request, uninterrupted_cache, tmp_path, name, damage):
    tiny.start(cache_request, tmp_path).run()
    damage(tmp_path / "progress" / name)
    assert tiny.content(tiny.write(cache_request, tmp_path)) == uninterrupted_cache


def test_half_written_files_are_not_published(cache_request, uninterrupted_cache, tmp_path):
    with pytest.raises(Stopped):
        tiny.write(cache_request, tmp_path, before_batch=stop_after(8))
    for name in ("cache/.train.00003.npy.abc.tmp", ".seconds.json.abc.tmp", "sidecars/.train.00000.npy.json.x.tmp"):
        (tmp_path / "progress" / name).write_bytes(b"half")
    assert tiny.content(tiny.write(cache_request, tmp_path)) == uninterrupted_cache


def test_seconds_add_up_over_interruptions(cache_request, tmp_path):
    with pytest.raises(Stopped):
        tiny.write(cache_request, tmp_path, before_batch=stop_after(3))
    (tmp_path / "progress" / "seconds.json").write_text("1000.0")
    work = tiny.start(cache_request, tmp_path)
    assert 1000 < work.seconds < 1100


def test_an_earlier_cache_is_replaced_only_by_a_complete_one(cache_request, uninterrupted_cache, tmp_path):
    earlier = tmp_path / "cache"
    earlier.mkdir()
    (earlier / "meta.json").write_text("earlier")
    with pytest.raises(Stopped):
        tiny.write(cache_request, tmp_path, before_batch=stop_after(3))
    assert tiny.content(earlier) == {"meta.json": b"earlier"}
    assert tiny.content(tiny.write(cache_request, tmp_path)) == uninterrupted_cache
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "progress"]


def test_all_that_decides_is_among_the_options_of_the_key(cache_request, tmp_path):
    changes = {"top_k": 6, "temperature": 2.0, "max_tokens": 21, "shard_bytes": 701}
    changed = [replace(cache_request, **{name: value}) for name, value in changes.items()]
    requests = [*changed, cache_request, replace(cache_request, top_k="full")]
    assert len({json.dumps(request.decisive()) for request in requests}) == 6
    assert replace(cache_request, teacher=tmp_path, data=tmp_path).decisive() == cache_request.decisive()


def test_too_little_disk_space(cache_request, tmp_path, monkeypatch):
    with pytest.raises(Stopped):
        tiny.write(cache_request, tmp_path, before_batch=stop_after(8))
    work = tiny.start(cache_request, tmp_path)
    kept = sum(path.stat().st_size for path in (tmp_path / "progress" / "cache").iterdir())
    left = work.tokens * work.record.itemsize - kept
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, left // 2))
    with pytest.raises(
        UserError, match=r"takes \d+ kB more and \d kB are free; lower distillation\.top_k, make room, or"
    ):
        work.run()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, left + 2000))
    work.run()
