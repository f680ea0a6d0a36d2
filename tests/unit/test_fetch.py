"""fetch.py against a mirror folder and a local HTTP server that fails in the ways servers do."""

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

from cli import UserError
from failing_server import CONTENT, Server, cut, ranged, status, whole
from fetch import BLOCK, DataFile, fetch

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "workflow_scripts" / "fetch.py"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    instance = Server()
    thread = threading.Thread(target=instance.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield instance
    instance.shutdown()
    thread.join()
    instance.server_close()


@pytest.fixture
def output(tmp_path):
    return tmp_path / "resources" / "set" / "file.gz"


def entry(url: str, content: bytes = CONTENT, **changes) -> DataFile:
    described = {"name": "file.gz", "url": url, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    return DataFile(**(described | changes))


def get(item: DataFile, output: Path, mirror: Path | None = None, attempts: int = 4) -> str:
    return fetch("set", item, output, mirror, attempts=attempts, back_off=0.01)


def assert_complete(output):
    assert output.read_bytes() == CONTENT
    assert [path.name for path in output.parent.iterdir()] == ["file.gz"]


def assert_nothing_left(output, *names):
    assert sorted(path.name for path in output.parent.glob("*")) == sorted(names)


# --- from the URL ---


def test_downloads_and_creates_the_folder(server, output):
    server.answers = [whole]
    assert get(entry(server.url), output) == server.url
    assert_complete(output)
    assert server.requests == [("/file.gz", None)]


@pytest.mark.parametrize("code", [503, 500, 429])
def test_a_busy_server_is_asked_again(server, output, code, capsys):
    server.answers = [status(code), status(code), whole]
    get(entry(server.url), output)
    assert_complete(output)
    assert len(server.requests) == 3
    assert capsys.readouterr().err.count(f"HTTP {code}") == 2


def test_a_server_that_stays_busy_is_given_up(server, output):
    server.answers = [status(503)]
    with pytest.raises(UserError, match=r"file\.gz: HTTP 503 Service Unavailable; gave up at attempt 4"):
        get(entry(server.url), output)
    assert len(server.requests) == 4
    assert_nothing_left(output)


def test_not_found_is_final_and_tells_the_offline_way(server, output):
    server.answers = [status(404)]
    with pytest.raises(UserError, match="HTTP 404 Not Found; check the URL in the manifest; or put") as caught:
        get(entry(server.url), output)
    assert "put the file at MIRROR/set/file.gz" in str(caught.value)
    assert "EKD_DATA_MIRROR" in str(caught.value)
    assert len(server.requests) == 1
    assert_nothing_left(output)


def test_a_transfer_cut_off_goes_on_where_it_stopped(server, output):
    server.answers = [cut(3 * BLOCK), cut(4 * BLOCK + 1), ranged]
    get(entry(server.url), output)
    assert_complete(output)
    assert [asked for _, asked in server.requests] == [None, f"bytes={3 * BLOCK}-", f"bytes={7 * BLOCK}-"]


def test_a_transfer_cut_off_without_known_size_is_noticed(server, output):
    server.answers = [cut(3 * BLOCK), ranged]
    get(entry(server.url, bytes=None), output)
    assert_complete(output)


def test_an_earlier_run_is_resumed(server, output):
    server.answers = [cut(2 * BLOCK)]
    with pytest.raises(UserError, match="gave up at attempt 1"):
        get(entry(server.url), output, attempts=1)
    assert_nothing_left(output, "file.gz.part")
    server.answers = [ranged]
    get(entry(server.url), output)
    assert_complete(output)
    assert server.requests[-1] == ("/file.gz", f"bytes={2 * BLOCK}-")


def test_a_server_that_cannot_resume_sends_all_again(server, output):
    server.answers = [cut(3 * BLOCK), whole]
    get(entry(server.url), output)
    assert_complete(output)
    assert server.requests[1] == ("/file.gz", f"bytes={3 * BLOCK}-")


@pytest.mark.parametrize("length", [1000, len(CONTENT), len(CONTENT) + 5])
@pytest.mark.parametrize("size_known", [True, False])
def test_a_part_of_another_file_is_given_up(server, output, length, size_known):
    output.parent.mkdir(parents=True)
    output.with_name("file.gz.part").write_bytes(b"x" * length)
    server.answers = [ranged]
    get(entry(server.url) if size_known else entry(server.url, bytes=None), output)
    assert_complete(output)


def test_a_range_that_was_not_asked_for_is_not_appended(server, output):
    def other_range(handler):
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 7-{len(CONTENT) - 1}/{len(CONTENT)}")
        handler.send_header("Content-Length", str(len(CONTENT) - 7))
        handler.end_headers()
        handler.wfile.write(CONTENT[7:])

    server.answers = [cut(3 * BLOCK), other_range, whole]
    get(entry(server.url), output)
    assert_complete(output)


def test_a_wrong_checksum_is_refused(server, output):
    altered = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]
    server.answers = [lambda handler: whole(handler, altered)]
    with pytest.raises(UserError, match=f"sha256 {hashlib.sha256(altered).hexdigest()} instead of") as caught:
        get(entry(server.url), output)
    assert server.url in str(caught.value)
    assert len(server.requests) == 1
    assert_nothing_left(output)


def test_a_file_that_is_too_long_is_refused(server, output):
    server.answers = [lambda handler: whole(handler, CONTENT + b"more")]
    with pytest.raises(UserError, match=f"more than the {len(CONTENT)} bytes that the manifest gives"):
        get(entry(server.url), output)
    assert_nothing_left(output)


def test_a_dead_link(server, output):
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match=r"Connection refused; gave up at attempt 2"):
        get(entry(server.url), output, attempts=2)
    assert_nothing_left(output)


def test_a_proxy_is_used(server, output, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    server.answers = [whole]
    get(entry("http://data.invalid/file.gz"), output)
    assert_complete(output)
    assert server.requests == [("http://data.invalid/file.gz", None)]


# --- from the mirror folder ---


@pytest.fixture
def mirror(tmp_path):
    (tmp_path / "mirror" / "set").mkdir(parents=True)
    return tmp_path / "mirror"


def test_the_mirror_comes_first(server, output, mirror):
    (mirror / "set" / "file.gz").write_bytes(CONTENT)
    assert get(entry(server.url), output, mirror) == str(mirror / "set" / "file.gz")
    assert_complete(output)
    assert server.requests == []


def test_what_the_mirror_lacks_is_downloaded(server, output, mirror):
    server.answers = [whole]
    get(entry(server.url), output, mirror)
    assert_complete(output)


def test_what_nobody_has_is_told_with_its_place_in_the_mirror(server, output, mirror):
    server.answers = [status(404)]
    with pytest.raises(UserError, match=f"or put the file at {mirror}/set/file.gz$"):
        get(entry(server.url), output, mirror)


@pytest.mark.parametrize("content", [b"short", b"x" * len(CONTENT)])
def test_a_wrong_copy_in_the_mirror_is_refused(server, output, mirror, content):
    (mirror / "set" / "file.gz").write_bytes(content)
    with pytest.raises(UserError, match=f"{mirror}/set/file.gz: .* instead of .*; replace this copy, or remove it"):
        get(entry(server.url), output, mirror)
    assert server.requests == []
    assert not output.exists()


def test_a_mirror_that_is_not_there_is_told(output, tmp_path):
    with pytest.raises(UserError, match=r"typo: not a readable folder; mend EKD_DATA_MIRROR or data\.mirror"):
        get(entry("http://127.0.0.1:9/file.gz"), output, tmp_path / "typo")


# --- command line ---


def call(output: Path, *flags: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPT, "--manifest", ROOT / "config/datasets.yaml", "--dataset", "multi30k"]
    command += ["--output", output, *map(str, flags)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)


def test_command_line_takes_the_mirror_from_the_environment(mirror, output):
    (mirror / "multi30k").mkdir()
    (mirror / "multi30k" / "val.de.gz").write_bytes(b"not it")
    result = call(output, "--file", "val.de.gz", EKD_DATA_MIRROR=str(mirror))
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: {mirror}/multi30k/val.de.gz: 6 bytes instead of 24681; replace this copy")
    assert result.stderr.count("\n") == 1
    assert not output.exists()


def test_command_line_says_where_the_file_came_from(server, output, tmp_path):
    server.answers = [whole]
    files = [entry(server.url).model_dump()]
    content = {"set": {"licence": "l", "citation": "c", "home": "h", "files": files}}
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(content))
    result = call(
        output, "--manifest", tmp_path / "m.yaml", "--dataset", "set", "--file", "file.gz", EKD_DATA_MIRROR=""
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", f"{output}: from {server.url}, verified\n")
    assert_complete(output)
