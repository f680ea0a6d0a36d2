"""`make env` builds once, rebuilds what is broken or outdated, and never removes what it did not make."""

import subprocess
import sys
from pathlib import Path

import pytest

import build_env
from ekd_nmt.common.errors import UserError

LOCKED = """\
snakemake==9.27.1 \\
    --hash=sha256:00
    # via -r envs/requirements.in
PyYAML==6.0.3 \\
    --hash=sha256:11
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "envs").mkdir()
    (tmp_path / build_env.LOCK).write_text(LOCKED)
    (tmp_path / build_env.TORCH).write_text("torch==2.13.0\n")
    return tmp_path


@pytest.fixture
def built(monkeypatch):
    """Replace the installation by a bare environment; the list counts the builds."""
    builds = []

    def steps(root, venv, constraints):
        builds.append(constraints.read_text())
        return [("creating", [sys.executable, "-m", "venv", "--without-pip", venv])]

    monkeypatch.setattr(build_env, "steps", steps)
    return builds


def test_builds_once_then_does_nothing(root, built):
    assert build_env.ensure(root, root / ".venv") == "built"
    assert build_env.ensure(root, root / ".venv") == "up to date"
    assert len(built) == 1


def test_torch_is_held_to_the_locked_versions(root, built):
    build_env.ensure(root, root / ".venv")
    assert built == ["snakemake==9.27.1\npyyaml==6.0.3\n"]
    assert [str(part) for part in real_steps(root)[-1][1][-4:]] == ["-c", "C", "-r", str(root / build_env.TORCH)]


def real_steps(root):
    import importlib.util

    spec = importlib.util.spec_from_file_location("fresh_build_env", build_env.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.steps(root, root / ".venv", Path("C"))


def test_lock_is_installed_with_hashes_and_without_dependencies(root):
    lock = next(command for message, command in real_steps(root) if str(build_env.LOCK) in message)
    assert {"--no-deps", "--require-hashes"} <= set(map(str, lock))


@pytest.mark.parametrize("changed", [build_env.LOCK, build_env.TORCH])
def test_changed_pins_rebuild(root, built, changed):
    build_env.ensure(root, root / ".venv")
    (root / changed).write_text((root / changed).read_text() + "extra==1.0\n")
    (root / ".venv/old").touch()
    assert build_env.ensure(root, root / ".venv") == "built"
    assert not (root / ".venv/old").exists()


def test_moved_environment_is_rebuilt(root, built):
    build_env.ensure(root, root / ".venv")
    (root / ".venv").rename(root / "moved")
    assert build_env.ensure(root, root / "moved") == "built"


def test_environment_without_a_working_python_is_rebuilt(root, built):
    build_env.ensure(root, root / ".venv")
    (root / ".venv/bin/python").unlink()
    assert build_env.ensure(root, root / ".venv") == "built"


def test_interrupted_build_is_built_again(root, built, monkeypatch):
    whole = build_env.steps

    def interrupted(*arguments):
        return [*whole(*arguments), ("installing", [sys.executable, "-c", "raise SystemExit(7)"])]

    monkeypatch.setattr(build_env, "steps", interrupted)
    with pytest.raises(UserError, match="installing: failed with status 7"):
        build_env.ensure(root, root / ".venv")
    assert (root / ".venv/bin/python").exists()
    monkeypatch.setattr(build_env, "steps", whole)
    assert build_env.ensure(root, root / ".venv") == "built"
    assert build_env.ensure(root, root / ".venv") == "up to date"


def foreign(root, versions):
    """An environment that someone else made, with these distributions."""
    venv = root / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    site = next(venv.glob("lib/python*/site-packages"))
    for name, version in versions.items():
        (site / f"{name}-{version}.dist-info").mkdir()
        (site / f"{name}-{version}.dist-info/METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    return venv


def test_foreign_environment_with_the_locked_versions_is_taken_over(root, built):
    venv = foreign(root, {"snakemake": "9.27.1", "PyYAML": "6.0.3", "torch": "2.13.0+cpu"})
    assert "taken over" in build_env.ensure(root, venv)
    assert build_env.ensure(root, venv) == "up to date"
    assert built == []


@pytest.mark.parametrize("versions", [{}, {"snakemake": "9.27.1", "PyYAML": "6.0.2", "torch": "2.13.0"}])
def test_other_foreign_environment_is_refused_and_kept(root, built, versions):
    venv = foreign(root, versions)
    (venv / "precious").touch()
    with pytest.raises(UserError, match="not made by `make env`"):
        build_env.ensure(root, venv)
    assert (venv / "precious").exists()
    assert built == []
