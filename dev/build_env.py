"""Install the locked packages into .venv. Does nothing when they are installed already.

A stamp file per group of packages holds a digest of what was installed. It is written last, so that an interrupted
installation is repeated. A folder without stamps was made by somebody else and is left alone.

Standard library only: this runs before the environment exists.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GROUPS = {
    "runtime": ("envs/requirements.lock", "envs/torch.txt"),
    "development": ("envs/requirements-dev.lock",),
}


def stamp_file(venv: Path, group: str) -> Path:
    """The file whose content is the digest of the installed group."""
    return venv / f".ekd-{group}"


def digest(root: Path, venv: Path, group: str) -> str:
    """Digest of the group's files, of Python's version and of the path, which the scripts of an environment contain."""
    key = hashlib.sha256(f"{sys.version_info[:2]} {venv.resolve()}".encode())
    for file in GROUPS[group]:
        key.update(hashlib.sha256((root / file).read_bytes()).digest())
    return key.hexdigest()


def up_to_date(root: Path, venv: Path, group: str) -> bool:
    """Whether the group is installed as locked, under a Python that starts."""
    stamp = stamp_file(venv, group)
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != digest(root, venv, group):
        return False
    try:
        return subprocess.run([venv / "bin/python", "-I", "-c", ""], check=False).returncode == 0
    except OSError:
        return False


def run(message: str, command: list[str | Path]) -> None:
    """Print the message and run the command; exit with one line when it fails."""
    print(f"env: {message}", flush=True)
    if subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode:
        sys.exit(f"error: {message} failed, see above; fix the cause and run make env again")


def install(root: Path, venv: Path, group: str) -> None:
    """Install the group's files: locks by hash and without dependencies, torch with those that its build adds."""
    for file in GROUPS[group]:
        # ve-fairseq declares torchaudio, which the lock leaves out: pip would warn
        options = ["--no-deps", "--require-hashes"] if file.endswith(".lock") else ["--no-warn-conflicts"]
        options += [] if sys.stdout.isatty() else ["--quiet"]
        run(f"installing {file}", [venv / "bin/python", "-m", "pip", "install", *options, "-r", root / file])


def ensure(root: Path, venv: Path, groups: list[str]) -> None:
    """Bring ``venv`` to the locked state of the groups; an outdated or broken runtime is built from scratch."""
    # a second `make` waits for the first
    with (root / GROUPS["runtime"][0]).open("rb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        for group in groups:
            if up_to_date(root, venv, group):
                continue
            if group == "runtime":
                if venv.exists():
                    if any(venv.iterdir()) and not stamp_file(venv, group).is_file():
                        sys.exit(f"error: {venv} was not made by make env; move it away, then run make env again")
                    shutil.rmtree(venv)
                venv.mkdir()
                stamp_file(venv, group).touch()
                # the running interpreter may be in the folder that is replaced
                base = getattr(sys, "_base_executable", None) or sys.executable
                run(f"creating {venv.name} with Python {sys.version.split()[0]}", [base, "-m", "venv", venv])
            install(root, venv, group)
            stamp_file(venv, group).write_text(digest(root, venv, group), encoding="utf-8")


def main() -> None:
    """Install the runtime group, and the development group on request."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--development", action="store_true", help="also what tests and lint need")
    arguments = parser.parse_args()
    ensure(ROOT, ROOT / ".venv", list(GROUPS) if arguments.development else ["runtime"])


if __name__ == "__main__":
    main()
