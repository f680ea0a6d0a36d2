"""Build .venv from envs/requirements.lock and envs/torch.txt, or do nothing when it is already that.

A stamp in the environment holds a digest of what it was built from. It is written first as "building" and last as the
digest, so an interrupted build is told from a finished one and is built again. An environment that carries no stamp
was made by someone else: it is taken over when it holds exactly the locked versions, and never removed.

Standard library only: it runs under the interpreter that the environment is to be made of.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow_scripts"))

from ekd_nmt.common.command import run
from ekd_nmt.common.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
LOCK = Path("envs/requirements.lock")
TORCH = Path("envs/torch.txt")
# older releases resolve more slowly and accept metadata that newer ones refuse, which would hide a bad pin
MINIMUM_PIP = "25.1"
STAMP = ".ekd-stamp"
BUILDING = "building"

PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s\\;]+)", re.MULTILINE)
# the interpreter's own version goes along under the name that no distribution has here
INSTALLED = """
import importlib.metadata, json, sys
found = {d.name: d.version for d in importlib.metadata.distributions() if d.name}
print(json.dumps(found | {"python": "{}.{}".format(*sys.version_info)}))
"""


def normalized(name: str) -> str:
    """The canonical form of a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_pins(path: Path) -> dict[str, str]:
    """Canonical name → version of every ``name==version`` line of a requirements file."""
    return {normalized(name): version for name, version in PIN.findall(path.read_text(encoding="utf-8"))}


def wanted(root: Path) -> dict[str, str]:
    """All that the environment must hold: this Python version, the lock's pins and torch."""
    return read_pins(root / LOCK) | read_pins(root / TORCH) | {"python": "{}.{}".format(*sys.version_info)}


def environment_key(root: Path, venv: Path) -> str:
    """Digest of what the environment depends on.

    Its own path is part of that: the scripts of a moved environment point to where it was.
    """
    digest = hashlib.sha256()
    for part in (
        (root / LOCK).read_bytes(),
        (root / TORCH).read_bytes(),
        str(venv.resolve()).encode(),
        "{}.{}".format(*sys.version_info).encode(),
    ):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def installed(venv: Path) -> dict[str, str]:
    """Canonical name → version of what is installed in ``venv``, "python" included; empty when it does not run."""
    try:
        answer = subprocess.run([venv / "bin/python", "-I", "-c", INSTALLED], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {normalized(name): version for name, version in json.loads(answer.stdout).items()}


def holds(found: dict[str, str], pins: dict[str, str]) -> bool:
    """Whether every pin is installed; a build label such as torch's ``+cpu`` does not count."""
    return all(found.get(name, "").partition("+")[0] == version for name, version in pins.items())


def steps(root: Path, venv: Path, constraints: Path) -> list[tuple[str, list[str | Path]]]:
    """What to run to fill ``venv``, each with the line to show before it."""
    # the base interpreter: this one may be the very environment that is being replaced
    base = getattr(sys, "_base_executable", None) or sys.executable
    # pip's progress is for people: torch can be gigabytes
    install = [venv / "bin/python", "-m", "pip", "install", *([] if sys.stdout.isatty() else ["--quiet"])]
    version = "{}.{}.{}".format(*sys.version_info)
    # torch may add what its build needs, but not move what the lock has fixed. The conflict that pip would warn of is
    # the torchaudio that ve-fairseq declares and text models never import.
    install_torch = [*install, "--no-warn-conflicts", "-c", constraints, "-r", root / TORCH]
    return [
        (f"creating {venv.name} with Python {version}", [base, "-m", "venv", venv]),
        ("upgrading pip", [*install, "--upgrade", f"pip>={MINIMUM_PIP}"]),
        (f"installing {LOCK}", [*install, "--no-deps", "--require-hashes", "-r", root / LOCK]),
        (f"installing {TORCH} (CUDA builds are large)", install_torch),
    ]


def build(root: Path, venv: Path) -> None:
    """Make ``venv`` anew.

    Raises:
        UserError: a step failed; what it said is on standard error.
    """
    if venv.exists():
        shutil.rmtree(venv)
    venv.mkdir()
    (venv / STAMP).write_text(BUILDING, encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        pins = read_pins(root / LOCK)
        constraints.write_text("".join(f"{name}=={version}\n" for name, version in pins.items()), encoding="utf-8")
        for message, command in steps(root, venv, constraints):
            print(f"env: {message}", flush=True)
            status = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, check=False).returncode
            if status:
                raise UserError(f"environment: {message}: failed with status {status}, see above; then make env again")
    (venv / STAMP).write_text(environment_key(root, venv), encoding="utf-8")


def ensure(root: Path, venv: Path) -> str:
    """Bring ``venv`` to what the lock says; return what was done, in words.

    Raises:
        UserError: ``venv`` is someone else's and holds other versions, or the build failed.
    """
    # a second `make` waits for the first
    with (root / LOCK).open("rb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        stamp = venv / STAMP
        if stamp.is_file():
            if stamp.read_text(encoding="utf-8") == environment_key(root, venv) and installed(venv):
                return "up to date"
        elif venv.exists() and any(venv.iterdir()):
            if not holds(installed(venv), wanted(root)):
                raise UserError(
                    f"{venv} was not made by `make env` and does not hold the locked versions; "
                    "move it away or remove it, then make env again"
                )
            stamp.write_text(environment_key(root, venv), encoding="utf-8")
            return "holds the locked versions, taken over"
        build(root, venv)
        return "built"


def main() -> None:
    """Build or check the environment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="where the environment is (%(default)s)")
    arguments = parser.parse_args()
    print(f"env: {arguments.venv.name}: {ensure(ROOT, arguments.venv)}")


if __name__ == "__main__":
    run(main)
