"""Fetch one file of a public data set: from a mirror folder if it is there, from its URL otherwise.

The mirror folder is laid out ``{mirror}/{dataset}/{file}``. A download is resumed where an earlier one was cut off (the
bytes so far are kept in ``{output}.part``), temporary failures are retried with exponential back-off, size and SHA-256
are verified, and the output appears by a rename, so it is never half a file. Proxies are taken from the usual
environment variables (``https_proxy``, ``no_proxy``).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

import requests
import tenacity
import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from cli import UserError, atomic_write, run, sha256

BLOCK = 1 << 14  # bytes; a broken transfer loses the block it broke in, so they are small
CONNECT_SECONDS, STALL_SECONDS = 15, 60
RETRIED_STATUSES = {408, 425, 429, 500, 502, 503, 504}


class DataFile(BaseModel):
    """One file of a data set, as its publisher serves it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")
    url: str = Field(pattern=r"^https?://")
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    bytes: int | None = Field(default=None, gt=0)


class Dataset(BaseModel):
    """A data set of the manifest: its terms and its files."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    licence: str
    citation: str
    home: str
    files: list[DataFile]


class TemporaryFailure(Exception):
    """A failure that may pass: the server is busy, the connection broke."""


def load_manifest(path: str | Path) -> dict[str, Dataset]:
    """Read the manifest: data set name → :class:`Dataset`.

    Raises:
        UserError: the file cannot be read, is not YAML, or an entry is not as it should be (the key is named).
    """
    try:
        return TypeAdapter(dict[str, Dataset]).validate_python(yaml.safe_load(Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check --manifest") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not YAML ({error}); mend it at that place") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}; mend that entry") from error


def find_entry(manifest: dict[str, Dataset], dataset: str, file: str) -> DataFile:
    """Look up one file.

    Raises:
        UserError: the manifest has no such data set or file; the message lists those it has.
    """
    if dataset not in manifest:
        raise UserError(f"data set {dataset!r} is not in the manifest; it has: {', '.join(sorted(manifest))}")
    files = {entry.name: entry for entry in manifest[dataset].files}
    if file not in files:
        raise UserError(f"file {file!r} is not in data set {dataset!r}; it has: {', '.join(sorted(files))}")
    return files[file]


def mismatch(path: Path, entry: DataFile) -> str | None:
    """Say how a file differs from its manifest entry, or return ``None`` when it does not."""
    size = path.stat().st_size
    if entry.bytes is not None and size > entry.bytes:
        return f"more than the {entry.bytes} bytes that the manifest gives"
    if entry.bytes is not None and size < entry.bytes:
        return f"{size} bytes instead of {entry.bytes}"
    if entry.sha256 is not None and (actual := sha256(path)) != entry.sha256:
        return f"sha256 {actual} instead of {entry.sha256}"
    return None


def copy_from_mirror(mirror: Path, dataset: str, entry: DataFile, output: Path) -> Path | None:
    """Copy the file from the mirror folder, verified; return where it lay, or ``None`` when it is not there.

    Raises:
        UserError: the mirror is not a readable folder, or its copy is not the file that the manifest describes.
    """
    if not mirror.is_dir() or not os.access(mirror, os.R_OK | os.X_OK):
        raise UserError(f"mirror {mirror}: not a readable folder; mend EKD_DATA_MIRROR or data.mirror, or leave it out")
    path = mirror / dataset / entry.name
    try:
        if not path.is_file():
            return None
        if (problem := mismatch(path, entry)) is not None:
            raise UserError(f"{path}: {problem}; replace this copy, or remove it to download the file instead")
        with open(path, "rb") as source, atomic_write(output, "wb") as target:
            shutil.copyfileobj(source, target)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be copied to {output} ({error.strerror}); check permissions and disk"
        ) from error
    return path


def innermost(error: BaseException) -> str:
    """The innermost cause of a network error, which says more than the layers around it."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return str(error) or type(error).__name__


def receive(entry: DataFile, part: Path) -> None:
    """Append the bytes that ``part`` lacks, or write them all if the server does not resume.

    Raises:
        TemporaryFailure: worth another try; the bytes so far are kept where they can be continued.
        UserError: another try would end the same way.
    """
    have = part.stat().st_size if part.exists() else 0
    # 'identity': the bytes of the file itself, which Range counts, not those of a compressed transfer.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(entry.url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, STALL_SECONDS)) as response:
        status = response.status_code
        resumed = status == requests.codes.partial_content
        continues = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if have and (status == requests.codes.requested_range_not_satisfiable or (resumed and not continues)):
            part.unlink()
            raise TemporaryFailure(f"{entry.url}: cannot be resumed at byte {have}, so it starts over")
        if status in RETRIED_STATUSES:
            raise TemporaryFailure(f"{entry.url}: HTTP {status} {response.reason}")
        if not response.ok:
            raise UserError(f"{entry.url}: HTTP {status} {response.reason}; check the URL in the manifest")
        received = have if resumed else 0
        with open(part, "ab" if resumed else "wb") as handle:
            for block in response.iter_content(BLOCK):
                received += handle.write(block)
                if entry.bytes is not None and received > entry.bytes:
                    return  # not the file that the manifest describes; no need to see the rest


def attempt(entry: DataFile, part: Path) -> None:
    """Complete ``part`` and verify it; raises as :func:`receive` does."""
    have = part.stat().st_size if part.exists() else 0
    if entry.bytes is None or have < entry.bytes:
        try:
            receive(entry, part)
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            raise TemporaryFailure(f"{entry.url}: {innermost(error)}") from error
        except requests.RequestException as error:
            raise UserError(f"{entry.url}: {innermost(error)}; check the URL in the manifest") from error
    problem = mismatch(part, entry)
    if problem is None:
        return
    if entry.bytes is not None and part.stat().st_size < entry.bytes:
        raise TemporaryFailure(f"{entry.url}: {problem}")  # cut off; the next attempt goes on from here
    part.unlink()
    if have:  # what was resumed may have been another version of the file
        raise TemporaryFailure(f"{entry.url}: {problem} after resuming, so it starts over")
    raise UserError(f"{entry.url}: {problem}; the published file has changed or was altered on its way")


def download(entry: DataFile, output: Path, attempts: int, back_off: float) -> None:
    """Download to ``output``, waiting about ``back_off`` seconds after the first failure and twice as long each time.

    Raises:
        UserError: the file cannot be had, or cannot be written.
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
        retrying(attempt, entry, part)
        part.replace(output)
    except TemporaryFailure as error:
        raise UserError(f"{error}; gave up at attempt {attempts}, so check the connection and the URL") from error
    except OSError as error:
        raise UserError(f"{output}: cannot be written ({error.strerror}); check permissions and disk") from error


def fetch(dataset: str, entry: DataFile, output: Path, mirror: Path | None, attempts: int, back_off: float) -> str:
    """Put a verified copy of ``entry`` at ``output`` and return where it came from.

    Raises:
        UserError: neither the mirror nor the URL gives the file; the message tells where to put it by hand.
    """
    if mirror is not None and (path := copy_from_mirror(mirror, dataset, entry, output)) is not None:
        return str(path)
    try:
        download(entry, output, attempts, back_off)
    except UserError as error:
        place = f"{mirror or 'MIRROR'}/{dataset}/{entry.name}"
        where = "" if mirror else ", with EKD_DATA_MIRROR or --mirror naming that MIRROR folder"
        raise UserError(f"{error}; or put the file at {place}{where}") from error
    return entry.url


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description="Fetch one file of a public data set, verified.")
    parser.add_argument("--manifest", required=True, metavar="YAML", help="such as config/datasets.yaml")
    parser.add_argument("--dataset", required=True, metavar="NAME")
    parser.add_argument("--file", required=True, metavar="NAME")
    parser.add_argument("--mirror", default=os.environ.get("EKD_DATA_MIRROR"), metavar="DIR", help="$EKD_DATA_MIRROR")
    parser.add_argument("--attempts", type=int, default=6, metavar="N", help="before giving up (default: 6)")
    parser.add_argument("--back-off", type=float, default=1.0, metavar="SECONDS", help="first wait (default: 1)")
    parser.add_argument("--output", required=True, type=Path, metavar="PATH")
    args = parser.parse_args()
    if args.attempts < 1 or args.back_off < 0:
        raise UserError("--attempts must be at least 1 and --back-off not negative")
    entry = find_entry(load_manifest(args.manifest), args.dataset, args.file)
    mirror = Path(args.mirror) if args.mirror else None
    origin = fetch(args.dataset, entry, args.output, mirror, args.attempts, args.back_off)
    print(f"{args.output}: from {origin}, {'verified' if entry.sha256 else 'no checksum known'}", file=sys.stderr)


if __name__ == "__main__":
    run(main)
