"""fetch.py against a local HTTP server that fails like real servers do."""

import hashlib
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from ekd_nmt.common.errors import UserError
from ekd_nmt.resume import lease
from failing_server import CONTENT, cut, entry, ranged, reset, status, unannounced, versioned, whole
from fetch import BLOCK, DataFile, fetch

ALTERED = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]


@pytest.fixture
def output(tmp_path):
    return tmp_path / "resources" / "set" / "file.gz"


def get(item: DataFile, output: Path, mirror: Path | None = None, attempts: int = 4, **options) -> str:
    return fetch("set", item, output, mirror, attempts=attempts, back_off=0.01, **options)


def assert_complete(output):
    assert output.read_bytes() == CONTENT
    assert [path.name for path in output.parent.iterdir()] == ["file.gz"]


def assert_nothing_left(output, *names):
    assert sorted(path.name for path in output.parent.glob("*")) == sorted(names)


# --- from the URL ---


def test_downloads_and_creates_the_folder(server, output):
    server.answers = [whole]
    assert get(entry(server.url), output) == f"{server.url}, verified"
    assert_complete(output)
    assert server.requests == [("/file.gz", None)]


@pytest.mark.parametrize("code", [503, 500, 429])
def test_busy_server_is_retried(server, output, code, capsys):
    server.answers = [status(code), status(code), whole]
    get(entry(server.url), output)
    assert_complete(output)
    assert len(server.requests) == 3
    assert capsys.readouterr().err.count(f"HTTP {code}") == 2


def test_server_that_stays_busy_is_an_error(server, output):
    server.answers = [status(503)]
    with pytest.raises(UserError, match=r"file\.gz: HTTP 503 Service Unavailable; gave up at attempt 4"):
        get(entry(server.url), output)
    assert len(server.requests) == 4
    assert_nothing_left(output)


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [("7", 7, 7.1), ("99999", 300, 300.1), ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0.1), ("soon", 0, 0.1)],
)
def test_retry_after_is_honoured(server, output, monkeypatch, header, least, most):
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    server.answers = [status(503, **{"Retry-After": header}), whole]
    get(entry(server.url), output)
    (wait,) = waits
    assert least <= wait <= most
    assert_complete(output)


def test_not_found_is_not_retried_and_names_the_mirror(server, output):
    server.answers = [status(404)]
    with pytest.raises(UserError, match="HTTP 404 Not Found; check the URL in the manifest; or put") as caught:
        get(entry(server.url), output)
    assert str(caught.value).endswith(
        "or put these into MIRROR/set/: file.gz (MIRROR: a folder that EKD_DATA_MIRROR or data.mirror names)"
    )
    assert len(server.requests) == 1
    assert_nothing_left(output)


def test_transfer_that_was_cut_off_is_resumed(server, output):
    server.answers = [cut(3 * BLOCK), cut(4 * BLOCK + 1), ranged]
    get(entry(server.url), output)
    assert_complete(output)
    assert [asked for _, asked in server.requests] == [None, f"bytes={3 * BLOCK}-", f"bytes={7 * BLOCK + 1}-"]


def test_transfer_of_unknown_size_that_was_cut_off_is_resumed(server, output):
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


DATE, LATER = "Mon, 02 Jan 2023 10:00:00 GMT", "Tue, 03 Jan 2023 10:00:00 GMT"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"ETag": '"1"'}, {"ETag": '"2"'}),
        ({"Last-Modified": DATE}, {"Last-Modified": LATER}),
        ({"ETag": 'W/"1"', "Last-Modified": DATE}, {"ETag": 'W/"1"', "Last-Modified": LATER}),
        ({"ETag": 'W/"1"'}, {"ETag": 'W/"1"'}),
        ({}, {}),
    ],
    ids=["ETag", "Last-Modified", "weak ETag and Last-Modified", "weak ETag", "nothing to compare"],
)
@pytest.mark.parametrize("later_run", [False, True])
def test_file_that_changed_on_the_server_starts_over(server, output, old, new, later_run):
    changed = bytes(byte ^ 1 for byte in CONTENT)
    item = entry(server.url, sha256=None)
    server.answers = [versioned(send=3 * BLOCK, **old), versioned(changed, **new)]
    if later_run:
        with pytest.raises(UserError, match="gave up at attempt 1"):
            get(item, output, attempts=1)
    get(item, output)
    assert output.read_bytes() == changed
    assert_nothing_left(output, "file.gz")


def test_server_that_ignores_if_range(server, output):
    changed = bytes(byte ^ 1 for byte in CONTENT)
    answer = lambda handler: ranged(handler, changed, ETag='"2"')  # noqa: E731
    server.answers = [versioned(send=3 * BLOCK, ETag='"1"'), answer]
    get(entry(server.url, sha256=None), output)
    assert output.read_bytes() == changed
    assert [asked for _, asked in server.requests] == [None, f"bytes={3 * BLOCK}-", None]


@pytest.mark.parametrize("validators", [{"ETag": '"1"'}, {"Last-Modified": DATE}])
def test_same_version_is_resumed_without_a_checksum(server, output, validators):
    server.answers = [versioned(send=3 * BLOCK, **validators), versioned(**validators)]
    get(entry(server.url, sha256=None, bytes=None), output)
    assert_complete(output)
    assert server.requests[1] == ("/file.gz", f"bytes={3 * BLOCK}-")


def test_server_that_cannot_resume_sends_everything_again(server, output):
    server.answers = [cut(3 * BLOCK), whole]
    get(entry(server.url), output)
    assert_complete(output)
    assert server.requests[1] == ("/file.gz", f"bytes={3 * BLOCK}-")


@pytest.mark.parametrize("length", [1000, len(CONTENT), len(CONTENT) + 5])
@pytest.mark.parametrize("size_known", [True, False])
def test_part_of_another_file_is_discarded(server, output, length, size_known):
    output.parent.mkdir(parents=True)
    output.with_name("file.gz.part").write_bytes(b"x" * length)
    server.answers = [ranged]
    get(entry(server.url) if size_known else entry(server.url, bytes=None), output)
    assert_complete(output)


def test_wrong_range_is_not_appended(server, output):
    def other_range(handler):
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 7-{len(CONTENT) - 1}/{len(CONTENT)}")
        handler.send_header("Content-Length", str(len(CONTENT) - 7))
        handler.end_headers()
        handler.wfile.write(CONTENT[7:])

    server.answers = [cut(3 * BLOCK), other_range, whole]
    get(entry(server.url), output)
    assert_complete(output)


def test_connection_reset_is_retried(server, output, capsys):
    server.answers = [reset(3 * BLOCK), ranged]
    get(entry(server.url), output)
    assert_complete(output)
    assert "Connection reset by peer; retrying in 0 s" in " ".join(capsys.readouterr().err.split())
    assert len(server.requests) == 2


def test_content_encoding_of_the_file_itself_is_not_decoded(server, output):
    server.answers = [lambda handler: whole(handler, **{"Content-Encoding": "x-gzip"})]
    get(entry(server.url), output)
    assert_complete(output)


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_wrong_checksum_is_refused(server, output, algorithm):
    sums = {"sha256": None, "md5": None, algorithm: hashlib.new(algorithm, CONTENT).hexdigest()}
    actual = hashlib.new(algorithm, ALTERED).hexdigest()
    server.answers = [lambda handler: whole(handler, ALTERED), whole]
    with pytest.raises(UserError, match=f"{algorithm} {actual} instead of {sums[algorithm]}") as caught:
        get(entry(server.url, **sums), output)
    assert server.url in str(caught.value)
    assert len(server.requests) == 1
    assert_nothing_left(output)
    get(entry(server.url, **sums), output)
    assert_complete(output)


def test_existing_file_is_fetched_again(server, output):
    output.parent.mkdir(parents=True)
    output.write_bytes(ALTERED)
    server.answers = [whole]
    get(entry(server.url), output)
    assert_complete(output)


def test_download_that_another_process_took_over_is_not_published(server, output, monkeypatch):
    def check(self):
        raise UserError("another download has taken over")

    monkeypatch.setattr(lease.Lease, "check", check)
    server.answers = [whole]
    with pytest.raises(UserError, match="taken over"):
        get(entry(server.url), output)
    assert not output.exists()
    assert output.with_name("file.gz.part").read_bytes() == CONTENT


# --- sizes and space ---


@pytest.mark.parametrize("content", [CONTENT + b"more", b"<html>Not found</html>"], ids=["longer", "page"])
def test_announced_size_that_differs_from_the_manifest_is_refused_at_once(server, output, content):
    server.answers = [lambda handler: whole(handler, content)]
    with pytest.raises(UserError, match=f"{len(content)} bytes instead of {len(CONTENT)}; the published file has"):
        get(entry(server.url), output)
    assert len(server.requests) == 1
    assert_nothing_left(output)


def test_resumed_file_of_another_size_starts_over(server, output):
    output.parent.mkdir(parents=True)
    output.with_name("file.gz.part").write_bytes(b"x" * 1000)
    server.answers = [lambda handler: ranged(handler, CONTENT + b"more"), whole]
    get(entry(server.url), output)
    assert_complete(output)
    assert [asked for _, asked in server.requests] == ["bytes=1000-", None]


def test_endless_response_is_aborted(server, output):
    server.answers = [lambda handler: unannounced(handler, CONTENT + b"x" * 10_000_000)]
    with pytest.raises(UserError, match=f"more than the {len(CONTENT)} bytes that the manifest gives"):
        get(entry(server.url), output)
    assert_nothing_left(output)


@pytest.mark.parametrize("answer", [whole, unannounced])
def test_limit_of_files_of_unknown_size(server, output, answer):
    server.answers = [answer]
    with pytest.raises(UserError, match=r"file\.gz: .*B or more, and a file of unknown size may have 150kB; if it is"):
        get(entry(server.url, bytes=None), output, max_bytes=150_000)
    assert_nothing_left(output)
    get(entry(server.url, bytes=None), output, max_bytes=len(CONTENT))
    assert_complete(output)


def test_files_of_known_size_have_no_limit(server, output):
    server.answers = [whole]
    get(entry(server.url), output, max_bytes=1)
    assert_complete(output)


def test_file_larger_than_the_free_space_is_not_begun(server, output, monkeypatch):
    server.answers = [cut(2 * BLOCK), ranged]
    lacking = len(CONTENT) - 2 * BLOCK
    free = iter([10**9, lacking - 67_000, lacking])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=next(free)))
    with pytest.raises(UserError, match=r"set: 100kB free where 167kB are needed for file\.gz; make room there"):
        get(entry(server.url), output)
    assert_nothing_left(output, "file.gz.part")
    get(entry(server.url), output)
    assert_complete(output)


# --- connections ---


def test_connection_refused(server, output):
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match=r"Connection refused; gave up at attempt 2"):
        get(entry(server.url), output, attempts=2)
    assert_nothing_left(output)


def test_proxy_is_used(server, output, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    server.answers = [whole]
    get(entry("http://data.invalid/file.gz"), output)
    assert_complete(output)
    assert server.requests == [("http://data.invalid/file.gz", None)]


# --- together with the mirror folder ---


@pytest.fixture
def mirror(tmp_path):
    (tmp_path / "mirror" / "set").mkdir(parents=True)
    return tmp_path / "mirror"


def test_the_mirror_comes_first(server, output, mirror):
    (mirror / "set" / "file.gz").write_bytes(CONTENT)
    assert get(entry(server.url), output, mirror) == f"{mirror}/set/file.gz, verified"
    assert_complete(output)
    assert server.requests == []


def test_file_missing_in_the_mirror_is_downloaded(server, output, mirror):
    server.answers = [whole]
    get(entry(server.url), output, mirror)
    assert_complete(output)


def test_error_names_all_missing_files_of_the_data_set(server, output, mirror):
    files = [entry(server.url, name=name) for name in ("a.tgz", "b.tgz", "file.gz", "c.tgz")]
    (mirror / "set" / "a.tgz").touch()
    output.parent.mkdir(parents=True)
    (output.parent / "b.tgz").touch()
    server.answers = [status(404)]
    with pytest.raises(UserError, match=rf"or put these into {mirror}/set/: file\.gz, c\.tgz$"):
        get(entry(server.url), output, mirror, files=files)
