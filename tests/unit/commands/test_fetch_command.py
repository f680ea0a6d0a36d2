"""The command line of fetch.py: processes that succeed, fail, or are killed."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest
import yaml

from ekd_nmt.common.signals import EXIT_INTERRUPTED, STOP_SIGNALS
from failing_server import CONTENT, entry, ranged, stalled, unannounced, whole
from fetch import BLOCK, DataFile
from left_behind import wait_for

SCRIPT = Path(__file__).parents[3] / "workflow_scripts" / "fetch.py"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def output(tmp_path):
    return tmp_path / "resources" / "set" / "file.gz"


def write_manifest(folder: Path, *files: DataFile) -> Path:
    described = [file.model_dump(exclude_none=True) for file in files]
    content = {"set": {"licence": "CC0", "citation": "Nobody (2020)", "home": "h", "files": described}}
    (folder / "m.yaml").write_text(yaml.safe_dump(content))
    return folder / "m.yaml"


@pytest.fixture
def download(server, output, tmp_path):
    """Arguments to download the server's file."""
    return (write_manifest(tmp_path, entry(server.url)), "--file", "file.gz", "--output", output)


def command(manifest: Path, *flags: object) -> list[str]:
    return [sys.executable, str(SCRIPT), "--manifest", str(manifest), "--dataset", "set", *map(str, flags)]


def call(*arguments: object, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, **options)


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(command(*arguments), stderr=subprocess.PIPE, text=True)


def wait_for_bytes(output: Path, count: int) -> Path:
    """Wait until that much of the file was received; return where it is."""
    part = output.with_name("file.gz.part")
    wait_for(lambda: part.exists() and part.stat().st_size >= count)
    return part


def assert_complete(output: Path) -> None:
    assert output.read_bytes() == CONTENT
    assert [path.name for path in output.parent.iterdir()] == ["file.gz"]


def assert_refused(result: subprocess.CompletedProcess[str], message: str) -> None:
    """In one line."""
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.startswith(f"error: {message}")


def test_mirror_from_the_environment(output, download, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/file.gz").write_bytes(b"not it")
    result = call(*download, env=os.environ | {"EKD_DATA_MIRROR": str(tmp_path)})
    assert_refused(result, f"{tmp_path}/set/file.gz: 6 bytes instead of {len(CONTENT)}; replace this copy")
    assert not output.exists()


@pytest.mark.parametrize(
    ("sums", "verdict"),
    [({}, "verified"), ({"sha256": None}, f"no checksum known, its sha256 is {SHA256}")],
    ids=["known", "unknown"],
)
def test_origin_of_the_file_is_printed(server, output, tmp_path, sums, verdict):
    server.answers = [whole]
    result = call(write_manifest(tmp_path, entry(server.url, **sums)), "--file", "file.gz", "--output", output)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", f"{output}: from {server.url}, {verdict}\n")
    assert_complete(output)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "--file and --output are missing; give both, or --list to see the files of the data set"),
        (("--list", "--max-bytes", 0), "--max-bytes: needs a number of bytes above 0, got '0'; correct it"),
        (("--list", "--mirror", "typo"), "mirror typo: not a readable folder; fix EKD_DATA_MIRROR or data.mirror"),
    ],
)
def test_wrong_flags_are_refused(tmp_path, download, flags, message):
    assert_refused(call(download[0], *flags, cwd=tmp_path), message)


def test_files_are_listed_without_network(server, tmp_path):
    files = [entry(server.url, name=name, bytes=size) for name, size in (("a.tgz", 5), ("b.tgz", None), ("c.tgz", 7))]
    for folder, name in (("mirror/set", "b.tgz"), ("resources/set", "c.tgz")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / name).touch()
    result = call(write_manifest(tmp_path, *files), "--list", "--mirror", tmp_path / "mirror", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert [line.split()[:2] for line in lines[:4]] == [
        ["file", "bytes"], ["a.tgz", "5"], ["b.tgz", "?"], ["c.tgz", "7"]
    ]  # fmt: skip
    assert ["missing" in lines[1], "in mirror" in lines[2], "in resources/set" in lines[3]] == [True] * 3
    assert lines[4:] == ["", "licence: CC0", "citation: Nobody (2020)", "home: h"]
    assert server.requests == []


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB."""
    if shutil.which("mount") is None:
        pytest.skip("no program to mount a file system with")
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here ({mounted.stderr.strip()})")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_full_disk_keeps_what_was_received(server, small_disk, tmp_path):
    server.answers = [unannounced]
    output = small_disk / "file.gz"
    arguments = (write_manifest(tmp_path, entry(server.url, bytes=None)), "--file", "file.gz", "--output", output)
    assert_refused(call(*arguments), f"{output}.part: No space left on device; make room and run again to resume\n")
    assert [path.name for path in small_disk.iterdir()] == ["file.gz.part"]
    assert CONTENT.startswith((small_disk / "file.gz.part").read_bytes())
    server.answers = [ranged]
    subprocess.run(["mount", "-o", "remount,size=1m", small_disk], check=True)
    assert call(*arguments).returncode == 0
    assert output.read_bytes() == CONTENT


@pytest.mark.parametrize("number", [signal.SIGKILL, *STOP_SIGNALS])
def test_killed_download_is_resumed_by_the_next(server, output, download, number):
    server.answers = [stalled(5 * BLOCK), ranged]
    with start(*download) as process:
        part = wait_for_bytes(output, 4 * BLOCK)
        process.send_signal(number)
        printed = process.communicate()[1]
    found = {path.name for path in output.parent.iterdir()}
    if number == signal.SIGKILL:
        assert (process.returncode, printed) == (-number, "")
        assert found == {"file.gz.part", "file.gz.progress"}
    else:
        assert process.returncode == EXIT_INTERRUPTED
        message = f"{number.name}: progress is saved; run the same command again to resume (exit status 75)"
        assert printed[len("12:00:00 ") :] == f"{message}\n"
        assert found == {"file.gz.part"}
    kept = part.stat().st_size
    assert 4 * BLOCK <= kept <= 5 * BLOCK
    result = call(*download)
    assert (result.returncode, result.stderr.splitlines()[-1]) == (0, f"{output}: from {server.url}, verified")
    assert server.requests == [("/file.gz", None), ("/file.gz", f"bytes={kept}-")]
    assert_complete(output)


def test_second_download_waits_for_the_first_and_uses_its_file(server, output, download):
    resumed = threading.Event()

    def slow(handler):
        ranged(handler, send=3 * BLOCK)
        resumed.wait(30)
        handler.wfile.write(CONTENT[3 * BLOCK :])

    server.answers = [slow]
    with start(*download) as first:
        wait_for(lambda: len(server.requests) == 1)
        with start(*download) as second:
            assert "another fetch runs here, process" in second.stderr.readline()
            resumed.set()
            printed = second.communicate()[1], first.communicate()[1]
    assert (first.returncode, second.returncode) == (0, 0), printed
    assert printed == (f"{output}: from {server.url}, verified\n",) * 2
    assert server.requests == [("/file.gz", None)]
    assert_complete(output)


def test_second_download_resumes_when_the_first_is_killed(server, output, download):
    server.answers = [stalled(3 * BLOCK), ranged]
    with start(*download) as first:
        part = wait_for_bytes(output, 2 * BLOCK)
        with start(*download) as second:
            assert "another fetch runs here, process" in second.stderr.readline()
            first.kill()
            first.wait()
            kept = part.stat().st_size
            second.communicate()
    assert second.returncode == 0
    assert server.requests == [("/file.gz", None), ("/file.gz", f"bytes={kept}-")]
    assert_complete(output)


def test_bar_on_the_given_terminal(server, output, download):
    server.answers = [whole]
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    result = call(*download, "--progress-fd", theirs, pass_fds=[theirs])
    drawn = os.read(ours, 10_000).decode()
    os.close(ours)
    os.close(theirs)
    assert "file.gz" in drawn
    assert "200k" in drawn
    assert result.stderr == f"{output}: from {server.url}, verified\n"
