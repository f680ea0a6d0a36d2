"""Resolve envs/requirements.in into envs/requirements.lock (with hashes) and envs/nmt.yaml (the same pins for conda).

torch is part of the resolution and not of the lock: CPU and CUDA builds of one version have different hashes, and which
one pip finds depends on the machine. So torch, and what only its CUDA builds need, are left out.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from build_env import LOCK, MINIMUM_PIP, PIN, ROOT, TORCH, normalized, read_pins

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow_scripts"))

from ekd_nmt.common.command import run
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import atomic_write

REQUIREMENTS = Path("envs/requirements.in")
CONDA = Path("envs/nmt.yaml")
PYTHONS = ("3.11", "3.12")
CONDA_PYTHON = "3.11"
# another release may format the lock otherwise
UV = "uv==0.13.9"
LEFT_OUT = re.compile(r"^(torch|torchaudio|triton|nvidia-.+|cuda-.+)$")

LOCK_HEADER = """\
# Written by `make lock` from requirements.in; do not edit. For Python 3.11 and 3.12 on Linux x86-64.
# Without torch and what only its CUDA builds need: see torch.txt.
"""
CONDA_HEADER = """\
# Written by `make lock`: the pins of requirements.lock and torch.txt as a conda environment, for `--sdm conda`.
"""


def blocks(resolved: str) -> dict[str, str]:
    """Split uv's output into one text a package (pin, hashes, `via` comments), in its order, by canonical name."""
    starts = [(match.start(), normalized(match[1])) for match in PIN.finditer(resolved)]
    ends = [start for start, _ in starts[1:]] + [len(resolved)]
    return {name: resolved[start:end] for (start, name), end in zip(starts, ends, strict=True)}


def lock_text(resolved: dict[str, str]) -> str:
    """The lock file: a neutral header and every package but those left out."""
    return LOCK_HEADER + "".join(text for name, text in resolved.items() if not LEFT_OUT.match(name))


def conda_text(locked: dict[str, str], torch: dict[str, str], torchaudio: str) -> str:
    """The conda environment. Conda's pip resolves dependencies, so torchaudio is pinned there too.

    Args:
        locked: name → version of the lock's pins.
        torch: the same of torch.txt.
        torchaudio: its version; ve-fairseq declares it, and nothing in the workflow imports it.
    """
    pins = [f"{name}=={version}" for name, version in (locked | torch).items()]
    lines = [
        "channels:",
        "  - conda-forge",
        "  - nodefaults",
        "dependencies:",
        f"  - python={CONDA_PYTHON}.*",
        f"  - pip>={MINIMUM_PIP}",
        "  - pip:",
        *(f"      - {pin}" for pin in pins),
        "      # declared by ve-fairseq, never imported",
        f"      - torchaudio=={torchaudio}",
    ]
    return CONDA_HEADER + "\n".join(lines) + "\n"


def resolve(uv: Path, python: str, preferences: str, upgrade: bool, folder: Path) -> dict[str, str]:
    """Resolve for one Python version on Linux x86-64; pins in ``preferences`` are kept unless ``upgrade``.

    Raises:
        UserError: uv found no solution, or could not reach its index; what it said is on standard error.
    """
    output = folder / f"{python}.lock"
    output.write_text(preferences, encoding="utf-8")
    command = [uv, "pip", "compile", REQUIREMENTS, TORCH, "--output-file", output, "--generate-hashes", "--no-header"]
    command += ["--python-version", python, "--python-platform", "x86_64-unknown-linux-gnu", "--quiet"]
    command += ["--upgrade"] * upgrade
    if subprocess.run([str(part) for part in command], cwd=ROOT, check=False).returncode:
        raise UserError(f"{REQUIREMENTS}: cannot be resolved for Python {python}, see above; nothing was written")
    return blocks(output.read_text(encoding="utf-8"))


def install_uv(folder: Path) -> Path:
    """Put uv into ``folder``, not into the environment, which holds what the lock says and nothing else."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), UV]
    if subprocess.run(command, check=False).returncode:
        raise UserError(f"{UV} cannot be installed, see above; check the connection to the package index")
    return folder / "bin/uv"


def main() -> None:
    """Write both files, or neither."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--upgrade", action="store_true", help="take the newest indirect dependencies")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        uv = install_uv(folder / "uv")
        preferences = (ROOT / LOCK).read_text(encoding="utf-8") if (ROOT / LOCK).exists() else ""
        first, second = (resolve(uv, python, preferences, arguments.upgrade, folder) for python in PYTHONS)
    if differing := sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name)):
        raise UserError(
            f"{REQUIREMENTS}: Pythons {' and '.join(PYTHONS)} resolve differently ({', '.join(differing)}); "
            "pin these there to versions that support both"
        )
    with atomic_write(ROOT / LOCK) as handle:
        handle.write(lock_text(first))
    torchaudio = PIN.match(first["torchaudio"])[2]
    with atomic_write(ROOT / CONDA) as handle:
        handle.write(conda_text(read_pins(ROOT / LOCK), read_pins(ROOT / TORCH), torchaudio))
    print(f"wrote {LOCK} and {CONDA}")


if __name__ == "__main__":
    run(main)
