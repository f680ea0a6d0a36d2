"""Fetch one file of a public data set: from a mirror folder if it is there, from its URL otherwise.

The mirror folder is laid out ``{mirror}/{dataset}/{file}``. A download that was cut off is resumed from
``{output}.part`` if the file on the server is still the same version (``{output}.part.version``). Temporary failures
are retried with exponential back-off, size and checksum are verified, and the output appears by a rename, so it is
always complete. Of two processes that download the same file, the second waits for the first (at the folder
``{output}.progress``) and uses its result. Proxies are taken from the usual environment variables (``https_proxy``,
``no_proxy``). ``--list`` prints the files of a data set and where they are.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

import requests
import tenacity
from tqdm import tqdm
from urllib3.exceptions import HTTPError, InvalidHeader
from urllib3.util import Retry

from ekd_nmt.common.command import positive_number, run
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.signals import exit_on_signal, handle_stop_signals, ignore_stop_signals
from ekd_nmt.config.manifest import RESOURCES, DataFile, find_dataset, find_entry, load_manifest, mismatch, verdict
from ekd_nmt.corpus.download_progress import Progress
from ekd_nmt.corpus.mirror import copy_from_mirror, missing, table
from ekd_nmt.resume.lease import hold

REVISION = 1  # of what this command writes: raise it when the same input gives another output

BLOCK = 1 << 14  # bytes; a broken transfer loses its last block, so blocks are small
MAX_BYTES = 8 << 30  # of a file whose size the manifest does not give
MAX_RETRY_AFTER = 300.0  # seconds that a server may ask to wait
CONNECT_SECONDS, STALL_SECONDS = 15, 60
RETRIED_STATUSES = {408, 425, 429, 500, 502, 503, 504}
DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


class TemporaryFailure(Exception):
    """A failure that may pass: the server is busy and asks to wait some seconds, or the connection broke."""

    def __init__(self, message: str, retry_after: float = 0.0):
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(UserError):
    """The URL does not have the file, and retrying does not help; a copy from elsewhere does."""


def innermost(error: BaseException) -> str:
    """The innermost cause of a network error, which is more specific than the errors around it."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return str(error) or type(error).__name__


in_units = partial(tqdm.format_sizeof, suffix="B")  # 8.6GB


def version_file(part: Path) -> Path:
    """Where the version that ``part`` was started from is kept."""
    return part.with_name(part.name + ".version")


def version(response: requests.Response) -> str | None:
    """A value for If-Range (RFC 9110, 13.1.5): a strong ETag, else Last-Modified."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified")


def retry_after(response: requests.Response) -> float:
    """Seconds that the server asks to wait, at most :data:`MAX_RETRY_AFTER`."""
    with contextlib.suppress(InvalidHeader):
        return min(Retry().parse_retry_after(response.headers.get("Retry-After", "0")), MAX_RETRY_AFTER)
    return 0.0


def discard(part: Path) -> None:
    """Delete what was received."""
    version_file(part).unlink(missing_ok=True)
    part.unlink()


def start_over(entry: DataFile, part: Path, problem: str) -> NoReturn:
    """Discard what was received and raise :class:`TemporaryFailure`: it may be of another file."""
    discard(part)
    raise TemporaryFailure(f"{entry.url}: {problem}, so it starts over")


def check_response(response: requests.Response, entry: DataFile, part: Path, have: int, old: str | None) -> None:
    """Check that the body is the file from byte 0, or version ``old`` from byte ``have``; raises as :func:`receive`."""
    status = response.status_code
    partial = status == requests.codes.partial_content
    continues = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
    if have and (status == requests.codes.requested_range_not_satisfiable or (partial and not continues)):
        start_over(entry, part, f"cannot be resumed at byte {have}")
    if partial and old is not None and version(response) not in (old, None):  # If-Range was ignored
        start_over(entry, part, "has changed on the server")
    if status in RETRIED_STATUSES:
        raise TemporaryFailure(f"{entry.url}: HTTP {status} {response.reason}", retry_after(response))
    if not response.ok:
        raise Unavailable(f"{entry.url}: HTTP {status} {response.reason}; check the URL in the manifest")


def check_size(announced: int | None, entry: DataFile, part: Path, have: int, max_bytes: int) -> None:
    """Refuse a transfer that cannot succeed before it begins; raises as :func:`receive` does.

    ``announced`` is the size of the whole file according to the server, ``have`` that of ``part``.
    """
    if announced is not None and entry.bytes is not None and announced != entry.bytes:
        problem = f"{announced} bytes instead of {entry.bytes}"
        if have:
            start_over(entry, part, f"{problem} after resuming")
        raise Unavailable(f"{entry.url}: {problem}; the published file has changed or this is another page")
    if announced is not None and entry.bytes is None and announced > max_bytes:
        refuse_large(entry, announced, max_bytes)
    total = entry.bytes if announced is None else announced
    if total is not None and total - have > (free := shutil.disk_usage(part.parent).free):
        lacking = f"{in_units(free)} free where {in_units(total - have)} are needed for {entry.name}"
        raise UserError(f"{part.parent}: {lacking}; make room there and run again")


def refuse_large(entry: DataFile, size: int, max_bytes: int) -> NoReturn:
    """Raise :class:`Unavailable` for a file that would fill the disk by mistake."""
    raise Unavailable(
        f"{entry.url}: {in_units(size)} or more, and a file of unknown size may have {in_units(max_bytes)}; "
        "if it is the right file, give its bytes in the manifest or raise --max-bytes"
    )


def receive(entry: DataFile, part: Path, max_bytes: int, progress_fd: int) -> None:
    """Append the bytes that ``part`` lacks, or write them all if the server does not resume.

    Raises:
        TemporaryFailure: retrying may help; the bytes so far are kept if they can be resumed.
        UserError: retrying does not help.
    """
    have = part.stat().st_size if part.exists() else 0
    old = version_file(part).read_text(encoding="latin-1") if version_file(part).exists() else None
    if old is None and entry.sha256 is None and entry.md5 is None:
        have = 0  # nothing would show that the file has changed
    # 'identity': the bytes of the file itself, which Range counts, not those of a compressed transfer. Some servers
    # call a .tgz a compressed transfer of a .tar all the same, so the bytes are not decoded.
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-"} | ({"If-Range": old} if old else {})
    with requests.get(entry.url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, STALL_SECONDS)) as response:
        check_response(response, entry, part, have, old)
        resumed = response.status_code == requests.codes.partial_content
        received = have if resumed else 0
        length = response.headers.get("Content-Length", "")
        announced = received + int(length) if length.isdecimal() else None
        check_size(announced, entry, part, have, max_bytes)
        limit = max_bytes if entry.bytes is None else entry.bytes
        with (
            open(part, "ab" if resumed else "wb") as handle,
            Progress(entry.name, received, entry.bytes or announced, progress_fd) as progress,
        ):
            if not resumed:
                version_file(part).unlink(missing_ok=True)
                if (new := version(response)) is not None:
                    version_file(part).write_text(new, encoding="latin-1")
            for block in response.raw.stream(BLOCK, decode_content=False):
                received += handle.write(block)
                progress.add(len(block))
                if received > limit:
                    break  # not the file that the manifest describes
            handle.flush()
            os.fsync(handle.fileno())  # a full disk may be noticed only here
    if entry.bytes is None and received > limit:
        discard(part)
        refuse_large(entry, received, max_bytes)


def attempt(entry: DataFile, part: Path, max_bytes: int, progress_fd: int) -> None:
    """Complete ``part`` and verify it; raises as :func:`receive` does."""
    have = part.stat().st_size if part.exists() else 0
    if entry.bytes is None or have < entry.bytes:
        try:
            receive(entry, part, max_bytes, progress_fd)
        except (requests.ConnectionError, requests.Timeout, HTTPError) as error:
            raise TemporaryFailure(f"{entry.url}: {innermost(error)}") from error
        except requests.RequestException as error:
            raise Unavailable(f"{entry.url}: {innermost(error)}; check the URL in the manifest") from error
    problem = mismatch(part, entry)
    if problem is None:
        return
    if entry.bytes is not None and part.stat().st_size < entry.bytes:
        raise TemporaryFailure(f"{entry.url}: {problem}")  # cut off; the next attempt resumes
    if have:
        start_over(entry, part, f"{problem} after resuming")
    discard(part)
    raise Unavailable(f"{entry.url}: {problem}; the published file has changed or was altered in transit")


def report_retry(state: tenacity.RetryCallState) -> None:
    """Print the failure and the time until the next attempt."""
    assert state.outcome is not None
    print(f"{state.outcome.exception()}; retrying in {state.upcoming_sleep:.0f} s", file=sys.stderr)


def download(entry: DataFile, output: Path, attempts: int, back_off: float, max_bytes: int, progress_fd: int) -> str:
    """Download to ``output``; return :func:`manifest.verdict` of it. Arguments as for :func:`fetch`.

    Raises:
        Unavailable: the file cannot be downloaded.
        UserError: it cannot be written, or another process keeps writing it; what was received is kept.
    """
    part = output.with_name(output.name + ".part")
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(TemporaryFailure),
        wait=tenacity.wait_exponential(multiplier=back_off, max=60)
        + tenacity.wait_random(0, back_off / 2)
        + tenacity.wait_exception(lambda error: getattr(error, "retry_after", 0.0)),
        stop=tenacity.stop_after_attempt(attempts),
        before_sleep=report_retry,
        reraise=True,
    )
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        existed = output.exists()
        with hold(output.with_name(output.name + ".progress"), "fetch") as lease:
            if not existed and output.exists() and mismatch(output, entry) is None:
                ignore_stop_signals()
                return verdict(output, entry)  # another process put it there while this one waited
            retrying(attempt, entry, part, max_bytes, progress_fd)
            known = verdict(part, entry)
            lease.check()
            ignore_stop_signals()
            version_file(part).unlink(missing_ok=True)
            part.replace(output)
            return known
    except TemporaryFailure as error:
        raise Unavailable(f"{error}; gave up at attempt {attempts}, so check the connection and the URL") from error
    except OSError as error:
        if error.errno in DISK_FULL:
            raise UserError(f"{part}: {error.strerror}; make room and run again to resume") from error
        raise UserError(f"{output}: cannot be written ({error.strerror}); check permissions and disk") from error


def fetch(
    dataset: str,
    entry: DataFile,
    output: Path,
    mirror: Path | None,
    attempts: int = 6,
    back_off: float = 1.0,
    *,
    files: Sequence[DataFile] = (),
    max_bytes: int = MAX_BYTES,
    progress_fd: int = 2,
) -> str:
    """Put a verified copy of ``entry`` at ``output``; return where it came from, and :func:`manifest.verdict` of it.

    Args:
        dataset: name of the data set.
        entry: the file.
        output: where to put it.
        mirror: folder to search first.
        attempts: downloads to try before giving up.
        back_off: seconds to wait after the first failure, about twice as long after each further one.
        files: all files of the data set; the error message lists the missing ones.
        max_bytes: maximum size if the manifest gives none.
        progress_fd: descriptor of a terminal to draw a progress bar on.

    Raises:
        UserError: neither the mirror nor the URL has the file; the message says what to put where by hand.
    """
    if mirror is not None and (path := copy_from_mirror(mirror, dataset, entry, output)) is not None:
        return f"{path}, {verdict(path, entry)}"
    try:
        known = download(entry, output, attempts, back_off, max_bytes, progress_fd)
    except Unavailable as error:
        names = ", ".join(missing(dataset, files or [entry], output.parent, mirror))
        note = "" if mirror else " (MIRROR: a folder that EKD_DATA_MIRROR or data.mirror names)"
        raise UserError(f"{error}; or put these into {mirror or 'MIRROR'}/{dataset}/: {names}{note}") from error
    return f"{entry.url}, {known}"


def parse_arguments() -> argparse.Namespace:
    """The command line; :class:`UserError` for invalid combinations."""
    parser = argparse.ArgumentParser(description="Fetch one file of a public data set, verified.")
    parser.add_argument("--manifest", required=True, metavar="YAML", help="such as config/datasets.yaml")
    parser.add_argument("--dataset", required=True, metavar="NAME")
    parser.add_argument(
        "--list", action="store_true", help="list the files, where they are, and the terms, without network"
    )
    parser.add_argument("--file", metavar="NAME")
    parser.add_argument("--output", type=Path, metavar="PATH")
    parser.add_argument("--mirror", default=os.environ.get("EKD_DATA_MIRROR"), metavar="DIR", help="$EKD_DATA_MIRROR")
    parser.add_argument(
        "--max-bytes",
        type=positive_number("--max-bytes", int, "a number of bytes"),
        default=MAX_BYTES,
        metavar="N",
        help="of a file of unknown size (default: 8 GiB)",
    )
    parser.add_argument(
        "--progress-fd", type=int, default=2, metavar="N", help="terminal for a progress bar (default: standard error)"
    )
    args = parser.parse_args()
    if not args.list and (args.file is None or args.output is None):
        raise UserError("--file and --output are missing; give both, or --list to see the files of the data set")
    return args


def main() -> None:
    """Command line: see the module's docstring."""
    args = parse_arguments()
    manifest = load_manifest(args.manifest)
    mirror = Path(args.mirror) if args.mirror else None
    content = find_dataset(manifest, args.dataset)
    if args.list:
        print(table(args.dataset, content, Path(RESOURCES, args.dataset), mirror))
        return
    handle_stop_signals(exit_on_signal)  # what was received is kept
    entry = find_entry(manifest, args.dataset, args.file)
    options = {"files": content.files, "max_bytes": args.max_bytes, "progress_fd": args.progress_fd}
    origin = fetch(args.dataset, entry, args.output, mirror, **options)
    print(f"{args.output}: from {origin}", file=sys.stderr)


if __name__ == "__main__":
    run(main)
