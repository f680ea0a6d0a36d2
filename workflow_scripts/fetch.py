"""Fetch one file of a public data set: from a mirror folder if it is there, from its URL otherwise.

The mirror folder is laid out ``{mirror}/{dataset}/{file}``. A download is resumed where an earlier one was cut off (the
bytes so far are kept in ``{output}.part``), temporary failures are retried with exponential back-off, size and checksum
are verified, and the output appears by a rename, so it is never half a file. Of two processes that are to download the
same file, the second waits for the first (at the folder ``{output}.progress``) and takes what it got. Proxies are taken
from the usual environment variables (``https_proxy``, ``no_proxy``). ``--list`` says instead what a data set needs and
what is there.
"""

from __future__ import annotations

import argparse
import errno
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import requests
import tenacity
from tqdm import tqdm
from urllib3.exceptions import HTTPError

from ekd_nmt.common.command import run
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.signals import exit_on_signal, handle_stop_signals, ignore_stop_signals
from ekd_nmt.corpus.download_progress import Progress
from ekd_nmt.corpus.manifest import RESOURCES, DataFile, find_dataset, find_entry, load_manifest, mismatch, verdict
from ekd_nmt.corpus.mirror import copy_from_mirror, missing, table
from ekd_nmt.resume.lease import hold

REVISION = 1  # of what this command writes: raise it when the same input gives another output

BLOCK = 1 << 14  # bytes; a broken transfer loses the block it broke in, so they are small
MAX_BYTES = 8 << 30  # of a file whose size the manifest does not give
CONNECT_SECONDS, STALL_SECONDS = 15, 60
RETRIED_STATUSES = {408, 425, 429, 500, 502, 503, 504}
DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


class TemporaryFailure(Exception):
    """A failure that may pass: the server is busy, the connection broke."""


class Unavailable(UserError):
    """The URL does not give the file, now or ever; a copy from elsewhere would do."""


def innermost(error: BaseException) -> str:
    """The innermost cause of a network error, which says more than the layers around it."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return str(error) or type(error).__name__


def in_units(count: int) -> str:
    """Bytes for people: ``8.6GB``."""
    return tqdm.format_sizeof(count, "B")


def start_over(entry: DataFile, part: Path, problem: str) -> NoReturn:
    """Give up what was received; :class:`TemporaryFailure`, for what was resumed may have been another file."""
    part.unlink()
    raise TemporaryFailure(f"{entry.url}: {problem}, so it starts over")


def check_response(response: requests.Response, entry: DataFile, part: Path, have: int) -> None:
    """See that the body is the file from byte 0, or from byte ``have``; raises as :func:`receive` does."""
    status = response.status_code
    partial = status == requests.codes.partial_content
    continues = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
    if have and (status == requests.codes.requested_range_not_satisfiable or (partial and not continues)):
        start_over(entry, part, f"cannot be resumed at byte {have}")
    if status in RETRIED_STATUSES:
        raise TemporaryFailure(f"{entry.url}: HTTP {status} {response.reason}")
    if not response.ok:
        raise Unavailable(f"{entry.url}: HTTP {status} {response.reason}; check the URL in the manifest")


def check_size(announced: int | None, entry: DataFile, part: Path, have: int, max_bytes: int) -> None:
    """Refuse a transfer that would end badly before it begins; raises as :func:`receive` does.

    Args:
        announced: bytes of the whole file by the server's account, ``None`` if it does not say.
        entry: the file.
        part: where it is being written.
        have: bytes that are in it, to be continued or replaced.
        max_bytes: how many it may have if the manifest does not say.
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
        TemporaryFailure: worth another try; the bytes so far are kept where they can be continued.
        UserError: another try would end the same way.
    """
    have = part.stat().st_size if part.exists() else 0
    # 'identity': the bytes of the file itself, which Range counts, not those of a compressed transfer. Some servers
    # call a .tgz a compressed transfer of a .tar all the same, so the bytes are taken as they come, not decoded.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(entry.url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, STALL_SECONDS)) as response:
        check_response(response, entry, part, have)
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
            for block in response.raw.stream(BLOCK, decode_content=False):
                received += handle.write(block)
                progress.add(len(block))
                if received > limit:
                    break  # not the file that the manifest describes; no need to see the rest
            handle.flush()
            os.fsync(handle.fileno())  # a disk may say only now that it is full
    if entry.bytes is None and received > limit:
        part.unlink()
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
        raise TemporaryFailure(f"{entry.url}: {problem}")  # cut off; the next attempt goes on from here
    if have:
        start_over(entry, part, f"{problem} after resuming")
    part.unlink()
    raise Unavailable(f"{entry.url}: {problem}; the published file has changed or was altered on its way")


def download(
    entry: DataFile, output: Path, attempts: int, back_off: float, max_bytes: int = MAX_BYTES, progress_fd: int = 2
) -> str:
    """Download to ``output``, waiting about ``back_off`` seconds after the first failure and twice as long each time.

    Returns:
        What :func:`manifest.verdict` says of it.

    Raises:
        Unavailable: the file cannot be had.
        UserError: it cannot be written, or another process has been writing it for long; what was received is kept.
    """
    part = output.with_name(output.name + ".part")
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(TemporaryFailure),
        wait=tenacity.wait_exponential(multiplier=back_off, max=60) + tenacity.wait_random(0, back_off / 2),
        stop=tenacity.stop_after_attempt(attempts),
        before_sleep=lambda state: print(f"{state.outcome.exception()}; trying again", file=sys.stderr),
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
            part.replace(output)
            return known
    except TemporaryFailure as error:
        raise Unavailable(f"{error}; gave up at attempt {attempts}, so check the connection and the URL") from error
    except OSError as error:
        if error.errno in DISK_FULL:
            raise UserError(f"{part}: {error.strerror}; make room and run again, it goes on from there") from error
        raise UserError(f"{output}: cannot be written ({error.strerror}); check permissions and disk") from error


def fetch(
    dataset: str,
    entry: DataFile,
    output: Path,
    mirror: Path | None,
    attempts: int,
    back_off: float,
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
        back_off: seconds to wait after the first.
        files: all files of the data set, to tell which others are missing when this one cannot be had.
        max_bytes: how many the file may have if the manifest does not say.
        progress_fd: descriptor of a terminal to draw a progress bar on.

    Raises:
        UserError: neither the mirror nor the URL gives the file; the message tells what to put where by hand.
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
    """The command line; :class:`UserError` for values that do not go together."""
    parser = argparse.ArgumentParser(description="Fetch one file of a public data set, verified.")
    parser.add_argument("--manifest", required=True, metavar="YAML", help="such as config/datasets.yaml")
    parser.add_argument("--dataset", required=True, metavar="NAME")
    parser.add_argument("--list", action="store_true", help="list the files, where they are, and the terms; no network")
    parser.add_argument("--file", metavar="NAME")
    parser.add_argument("--output", type=Path, metavar="PATH")
    parser.add_argument("--mirror", default=os.environ.get("EKD_DATA_MIRROR"), metavar="DIR", help="$EKD_DATA_MIRROR")
    parser.add_argument("--attempts", type=int, default=6, metavar="N", help="before giving up (default: 6)")
    parser.add_argument("--back-off", type=float, default=1.0, metavar="SECONDS", help="first wait (default: 1)")
    parser.add_argument(
        "--max-bytes", type=int, default=MAX_BYTES, metavar="N", help="of a file of unknown size (default: 8 GiB)"
    )
    parser.add_argument(
        "--progress-fd", type=int, default=2, metavar="N", help="terminal for a progress bar (default: standard error)"
    )
    args = parser.parse_args()
    if args.attempts < 1 or args.back_off < 0 or args.max_bytes < 1:
        raise UserError("--attempts and --max-bytes must be at least 1 and --back-off not negative")
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
    handle_stop_signals(exit_on_signal)  # what was received is kept, so nothing is lost by leaving at once
    entry = find_entry(manifest, args.dataset, args.file)
    origin = fetch(
        args.dataset,
        entry,
        args.output,
        mirror,
        args.attempts,
        args.back_off,
        files=content.files,
        max_bytes=args.max_bytes,
        progress_fd=args.progress_fd,
    )
    print(f"{args.output}: from {origin}", file=sys.stderr)


if __name__ == "__main__":
    run(main)
