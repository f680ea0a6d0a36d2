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
CHANGED = bytes(byte ^ 1 for byte in CONTENT)
DATE, LATER = "Mon, 02 Jan 2023 10:00:00 GMT", "Tue, 03 Jan 2023 10:00:00 GMT"


@pytest.fixture
def output(tmp_path):
    return tmp_path / "resources" / "set" / "file.gz"


@pytest.fixture
def mirror(tmp_path):
    (tmp_path / "mirror" / "set").mkdir(parents=True)
    return tmp_path / "mirror"


def get(item: DataFile, output: Path, mirror: Path | None = None, attempts: int = 4, **options) -> str:
    return fetch("set", item, output, mirror, attempts=attempts, back_off=0.01, **options)


def assert_complete(output, content=CONTENT):
    assert output.read_bytes() == content
    assert_nothing_left(output, "file.gz")


def assert_nothing_left(output, *names):
    assert sorted(path.name for path in output.parent.glob("*")) == sorted(names)


def other_range(handler):
    handler.send_response(206)
    handler.send_header("Content-Range", f"bytes 7-{len(CONTENT) - 1}/{len(CONTENT)}")
    handler.send_header("Content-Length", str(len(CONTENT) - 7))
    handler.end_headers()
    handler.wfile.write(CONTENT[7:])


THREE, SEVEN = f"bytes={3 * BLOCK}-", f"bytes={7 * BLOCK + 1}-"
ANSWERS = {
    "the whole file": ([whole], [None], {}),
    "cut off twice": ([cut(3 * BLOCK), cut(4 * BLOCK + 1), ranged], [None, THREE, SEVEN], {}),
    "cut off, size unknown": ([cut(3 * BLOCK), ranged], [None, THREE], {"bytes": None}),
    "no resuming": ([cut(3 * BLOCK), whole], [None, THREE], {}),
    "wrong range": ([cut(3 * BLOCK), other_range, whole], [None, THREE, None], {}),
    "encoding of the file itself": ([lambda each: whole(each, **{"Content-Encoding": "x-gzip"})], [None], {}),
}


@pytest.mark.parametrize(("answers", "ranges", "changes"), ANSWERS.values(), ids=ANSWERS)
def test_download(server, output, answers, ranges, changes):
    server.answers = answers
    assert get(entry(server.url, **changes), output) == f"{server.url}, verified"
    assert_complete(output)
    assert server.requests == [("/file.gz", asked) for asked in ranges]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        *(([status(code)] * 2 + [whole], f"HTTP {code}") for code in (503, 500, 429)),
        ([reset(3 * BLOCK)] * 2 + [ranged], "Connection reset by peer; retrying in 0 s"),
    ],
    ids=["503", "500", "429", "reset"],
)
def test_temporary_failure_is_retried(server, output, capsys, answers, message):
    server.answers = answers
    get(entry(server.url), output)
    assert_complete(output)
    assert len(server.requests) == 3
    assert capsys.readouterr().err.count(message) == 2


def test_server_that_stays_busy_or_refuses_connections_is_an_error(server, output):
    server.answers = [status(503)]
    with pytest.raises(UserError, match=r"file\.gz: HTTP 503 Service Unavailable; gave up at attempt 4"):
        get(entry(server.url), output)
    assert len(server.requests) == 4
    assert_nothing_left(output)
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match=r"Connection refused; gave up at attempt 2"):
        get(entry(server.url), output, attempts=2)
    assert_nothing_left(output)


@pytest.mark.parametrize(
    ("header", "least"), [("7", 7), ("99999", 300), ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("soon", 0)]
)
def test_retry_after_is_honoured(server, output, monkeypatch, capsys, header, least):
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    server.answers = [status(503, **{"Retry-After": header}), whole]
    get(entry(server.url), output)
    (wait,) = waits
    assert least <= wait <= least + 0.1
    assert f"HTTP 503 Service Unavailable; retrying in {least} s" in capsys.readouterr().err
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
    item = entry(server.url, sha256=None)
    server.answers = [versioned(send=3 * BLOCK, **old), versioned(CHANGED, **new)]
    if later_run:
        with pytest.raises(UserError, match="gave up at attempt 1"):
            get(item, output, attempts=1)
    get(item, output)
    assert_complete(output, CHANGED)


def test_server_that_ignores_if_range(server, output):
    server.answers = [versioned(send=3 * BLOCK, ETag='"1"'), lambda each: ranged(each, CHANGED, ETag='"2"')]
    get(entry(server.url, sha256=None), output)
    assert_complete(output, CHANGED)
    assert [asked for _, asked in server.requests] == [None, THREE, None]


@pytest.mark.parametrize("validators", [{"ETag": '"1"'}, {"Last-Modified": DATE}])
def test_later_run_resumes_the_same_version_without_a_checksum(server, output, validators):
    item = entry(server.url, sha256=None, bytes=None)
    server.answers = [versioned(send=3 * BLOCK, **validators), versioned(**validators)]
    with pytest.raises(UserError, match="gave up at attempt 1"):
        get(item, output, attempts=1)
    assert_nothing_left(output, "file.gz.part", "file.gz.part.version")
    get(item, output)
    assert_complete(output)
    assert server.requests[1] == ("/file.gz", THREE)


@pytest.mark.parametrize("length", [1000, len(CONTENT), len(CONTENT) + 5])
@pytest.mark.parametrize("changes", [{}, {"bytes": None}], ids=["size known", "size unknown"])
def test_part_of_another_file_is_discarded(server, output, length, changes):
    output.parent.mkdir(parents=True)
    output.with_name("file.gz.part").write_bytes(b"x" * length)
    server.answers = [ranged]
    get(entry(server.url, **changes), output)
    assert_complete(output)


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_wrong_checksum_is_refused(server, output, algorithm):
    sums = {"sha256": None, "md5": None, algorithm: hashlib.new(algorithm, CONTENT).hexdigest()}
    actual = hashlib.new(algorithm, ALTERED).hexdigest()
    server.answers = [lambda handler: whole(handler, ALTERED), whole]
    with pytest.raises(UserError, match=f"{server.url}: {algorithm} {actual} instead of {sums[algorithm]}"):
        get(entry(server.url, **sums), output)
    assert len(server.requests) == 1
    assert_nothing_left(output)
    output.parent.mkdir(parents=True)
    output.write_bytes(ALTERED)
    get(entry(server.url, **sums), output)
    assert_complete(output)  # the existing file is replaced


def test_download_that_another_process_took_over_is_not_published(server, output, monkeypatch):
    def check(self):
        raise UserError("another download has taken over")

    monkeypatch.setattr(lease.Lease, "check", check)
    server.answers = [whole]
    with pytest.raises(UserError, match="taken over"):
        get(entry(server.url), output)
    assert not output.exists()
    assert output.with_name("file.gz.part").read_bytes() == CONTENT


# Sizes and space


@pytest.mark.parametrize(
    ("answer", "content", "message"),
    [
        (whole, CONTENT + b"more", f"{len(CONTENT) + 4} bytes instead of {len(CONTENT)}; the published file has"),
        (whole, b"<html>Not found</html>", f"22 bytes instead of {len(CONTENT)}; the published file has"),
        (unannounced, CONTENT + b"x" * 10_000_000, f"more than the {len(CONTENT)} bytes that the manifest gives"),
    ],
    ids=["longer", "page", "endless"],
)
def test_size_that_differs_from_the_manifest_is_refused_at_once(server, output, answer, content, message):
    server.answers = [lambda handler: answer(handler, content)]
    with pytest.raises(UserError, match=message):
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


@pytest.mark.parametrize("answer", [whole, unannounced])
def test_limit_of_files_of_unknown_size(server, output, answer):
    server.answers = [answer]
    with pytest.raises(UserError, match=r"file\.gz: .*B or more, and a file of unknown size may have 150kB; if it is"):
        get(entry(server.url, bytes=None), output, max_bytes=150_000)
    assert_nothing_left(output)
    get(entry(server.url, bytes=None), output, max_bytes=len(CONTENT))
    assert_complete(output)
    get(entry(server.url), output, max_bytes=1)  # of known size


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


def test_proxy_is_used(server, output, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    server.answers = [whole]
    get(entry("http://data.invalid/file.gz"), output)
    assert_complete(output)
    assert server.requests == [("http://data.invalid/file.gz", None)]


# The mirror folder


def test_the_mirror_comes_first(server, output, mirror):
    server.answers = [whole]
    get(entry(server.url), output, mirror)  # the mirror is empty
    (mirror / "set" / "file.gz").write_bytes(CONTENT)
    assert get(entry(server.url), output, mirror) == f"{mirror}/set/file.gz, verified"
    assert_complete(output)
    assert len(server.requests) == 1


def test_error_names_all_missing_files_of_the_data_set(server, output, mirror):
    files = [entry(server.url, name=name) for name in ("a.tgz", "b.tgz", "file.gz", "c.tgz")]
    (mirror / "set" / "a.tgz").touch()
    output.parent.mkdir(parents=True)
    (output.parent / "b.tgz").touch()
    server.answers = [status(404)]
    with pytest.raises(UserError, match=rf"or put these into {mirror}/set/: file\.gz, c\.tgz$"):
        get(entry(server.url), output, mirror, files=files)
