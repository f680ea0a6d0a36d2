"""`make env` installs once, rebuilds what is broken or outdated, and never removes what it did not make."""

import subprocess
import sys
from pathlib import Path

import pytest

import build_env

ROOT = Path(__file__).parents[3]
BOTH = ["runtime", "development"]


@pytest.fixture
def root(tmp_path):
    (tmp_path / "envs").mkdir()
    for files in build_env.GROUPS.values():
        for file in files:
            (tmp_path / file).write_text("snakemake==9.27.1\n")
    return tmp_path


@pytest.fixture
def venv(root):
    return root / ".venv"


@pytest.fixture
def commands(monkeypatch):
    """Make environments without pip and install nothing; the list has the commands that would have run."""
    recorded = []

    def run(message, command):
        recorded.append([str(word) for word in command])
        if "venv" in command:
            subprocess.run([*command, "--without-pip"], check=True)

    monkeypatch.setattr(build_env, "run", run)
    return recorded


def installed(commands):
    return [Path(command[-1]).name for command in commands if "install" in command]


def test_locks_are_installed_by_hash_and_alone_and_torch_with_what_its_build_needs(root, venv, commands):
    build_env.ensure(root, venv, BOTH)
    for command in commands[1:]:
        strict = {"--no-deps", "--require-hashes"} <= set(command)
        assert strict == command[-1].endswith(".lock")


RUNTIME, DEVELOPMENT = ["requirements.lock", "torch.txt"], ["requirements-dev.lock"]


@pytest.mark.parametrize(
    ("before", "changed", "after", "expected"),
    [
        (["runtime"], [], ["runtime"], []),
        (["runtime"], [], BOTH, DEVELOPMENT),
        (BOTH, [], BOTH, []),
        (BOTH, ["requirements-dev.lock"], BOTH, DEVELOPMENT),
        (BOTH, ["requirements.lock"], BOTH, RUNTIME + DEVELOPMENT),
        (BOTH, ["torch.txt"], BOTH, RUNTIME + DEVELOPMENT),
    ],
)
def test_only_what_is_missing_or_outdated_is_installed(root, venv, commands, before, changed, after, expected):
    build_env.ensure(root, venv, before)
    assert installed(commands) == RUNTIME + (DEVELOPMENT if before == BOTH else [])
    for file in changed:
        (root / "envs" / file).write_text("extra==1.0\n")
    (venv / "old").touch()
    commands.clear()
    build_env.ensure(root, venv, after)
    assert installed(commands) == expected
    assert bool(commands) == bool(expected)
    assert (venv / "old").exists() == ("torch.txt" not in expected), "an outdated runtime is built from scratch"


@pytest.mark.parametrize("broken", ["moved", "without a working Python"])
def test_broken_environment_is_rebuilt(root, venv, commands, broken):
    build_env.ensure(root, venv, ["runtime"])
    if broken == "moved":
        venv = venv.rename(root / "moved")
    else:
        (venv / "bin/python").unlink()
    build_env.ensure(root, venv, ["runtime"])
    assert installed(commands) == RUNTIME * 2


def test_interrupted_build_is_built_again(root, venv, commands, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(build_env, "install", lambda *arguments: sys.exit("interrupted"))
        with pytest.raises(SystemExit):
            build_env.ensure(root, venv, ["runtime"])
    assert (venv / "bin/python").exists()
    (venv / "half").touch()
    build_env.ensure(root, venv, ["runtime"])
    assert installed(commands) == RUNTIME
    assert not (venv / "half").exists()


def test_environment_of_somebody_else_is_refused_and_kept(root, venv, commands):
    venv.mkdir()
    (venv / "precious").touch()
    with pytest.raises(SystemExit, match="was not made by make env"):
        build_env.ensure(root, venv, ["runtime"])
    assert (venv / "precious").exists()
    assert commands == []


def test_failing_command_is_one_line():
    with pytest.raises(SystemExit, match=r"^error: installing x failed, see above; .* run make env again$"):
        build_env.run("installing x", [sys.executable, "-c", "raise SystemExit(7)"])


def test_script_needs_nothing_but_the_standard_library():
    command = [sys.executable, "-I", "-S", ROOT / "dev/build_env.py", "--help"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
