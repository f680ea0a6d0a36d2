"""Copying from a mirror folder, and its errors."""

import multiprocessing
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ekd_nmt.common.errors import UserError
from ekd_nmt.config.manifest import DataFile, Dataset
from ekd_nmt.corpus.mirror import copy_from_mirror, missing, table

CONTENT = b"some text\n"
NOBODY = 65534


@pytest.fixture
def mirror(tmp_path):
    (tmp_path / "mirror" / "set").mkdir(parents=True)
    return tmp_path / "mirror"


def entry(name: str = "a.txt", **changes) -> DataFile:
    return DataFile(name=name, url=f"https://example.org/{name}", **changes)


def test_copy(mirror, tmp_path):
    (mirror / "set" / "a.txt").write_bytes(CONTENT)
    output = tmp_path / "resources" / "set" / "a.txt"
    assert copy_from_mirror(mirror, "set", entry(bytes=10), output) == mirror / "set" / "a.txt"
    assert output.read_bytes() == CONTENT


@pytest.mark.parametrize("folder", ["set", "other"])
def test_missing_file_is_none(mirror, tmp_path, folder):
    assert copy_from_mirror(mirror, folder, entry(), tmp_path / "out") is None
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"bytes": 11}, "10 bytes instead of 11"),
        ({"bytes": 9}, "more than the 9 bytes that the manifest gives"),
        ({"sha256": "0" * 64}, f"sha256 .* instead of {'0' * 64}"),
        ({"md5": "0" * 32}, f"md5 .* instead of {'0' * 32}"),
    ],
)
def test_wrong_copy_is_refused(mirror, tmp_path, changes, problem):
    path = mirror / "set" / "a.txt"
    path.write_bytes(CONTENT)
    with pytest.raises(UserError, match=f"{path}: {problem}; replace this copy, or remove it to download"):
        copy_from_mirror(mirror, "set", entry(**changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_output_that_cannot_be_written(mirror, tmp_path):
    (mirror / "set" / "a.txt").write_bytes(CONTENT)
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=r"a\.txt: cannot be copied to .*out \(Is a directory\); check permissions"):
        copy_from_mirror(mirror, "set", entry(), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mirror", "out"]


UNREADABLE = "not a readable folder; fix EKD_DATA_MIRROR or data.mirror, or leave it out"


def test_mirror_is_missing_or_a_file(tmp_path):
    (tmp_path / "file").touch()
    for name in ("typo", "file"):
        with pytest.raises(UserError, match=re.escape(f"mirror {tmp_path / name}: {UNREADABLE}")):
            copy_from_mirror(tmp_path / name, "set", entry(), tmp_path / "out")


@pytest.mark.parametrize(("closed", "message"), [("mirror/set", "cannot be copied"), ("mirror", UNREADABLE)])
def test_folders_without_permission(closed, message):
    with tempfile.TemporaryDirectory() as name:  # unlike pytest's own, other users may enter it
        folder = Path(name)
        (folder / "mirror/set").mkdir(parents=True)
        (folder / "mirror/set/a.txt").write_bytes(CONTENT)
        folder.chmod(0o755)
        (folder / closed).chmod(0o000)
        try:
            found = unprivileged(lambda: copy_from_mirror(folder / "mirror", "set", entry(), folder / "out"))
        finally:
            (folder / closed).chmod(0o755)
    assert message in found


def unprivileged(call: Callable[[], object]) -> str:
    """The error of a call as an unprivileged user, also when the tests run as root."""
    context = multiprocessing.get_context("fork")
    messages = context.SimpleQueue()

    def child() -> None:
        if os.geteuid() == 0:
            os.setuid(NOBODY)
        try:
            call()
            messages.put("nothing was refused")
        except UserError as error:
            messages.put(str(error))

    process = context.Process(target=child)
    process.start()
    process.join()
    return messages.get()


def test_folder_in_place_of_the_file(mirror, tmp_path):
    (mirror / "set" / "a.txt").mkdir()
    with pytest.raises(UserError, match=r"set/a\.txt: is not a file; put the file there"):
        copy_from_mirror(mirror, "set", entry(), tmp_path / "out")


def test_missing_files_are_in_neither_place(mirror, tmp_path):
    files = [entry(name) for name in "abcd"]
    (mirror / "set" / "a").touch()
    (tmp_path / "c").touch()
    (mirror / "set" / "d").mkdir()
    assert missing("set", files, tmp_path, mirror) == ["b", "d"]
    assert missing("set", files, tmp_path, None) == ["a", "b", "d"]


def test_table_of_a_data_set_without_files_wraps_its_terms(mirror, tmp_path):
    content = Dataset(licence="CC0", citation="word " * 40, home="h", files=[])
    lines = table("set", content, tmp_path, mirror).split("\n")
    assert lines[0].split() == ["file", "bytes", "present", "url"]
    assert lines[1:4] == ["", "licence: CC0", "citation: " + " ".join(["word"] * 22)]
    assert lines[4:] == ["  " + " ".join(["word"] * 18), "home: h"]
