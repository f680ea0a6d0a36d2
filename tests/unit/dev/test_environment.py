"""pyproject.toml, the locks, the conda environment, the documentation and what is installed agree."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DECLARED = {
    "requirements.lock": PROJECT["project"]["dependencies"],
    "requirements-dev.lock": PROJECT["dependency-groups"]["dev"],
}


def pins(name):
    """Canonical name → requirement of every pin of a file in envs/."""
    lines = (ROOT / "envs" / name).read_text().splitlines()
    found = [Requirement(line.rstrip("\\")) for line in lines if re.match(r"\w", line)]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def declared(name):
    return {canonicalize_name(item.name): item for item in map(Requirement, DECLARED[name])}


@pytest.mark.parametrize(("name", "source"), list(zip(DECLARED, ("pyproject.toml", "pyproject.toml:dev"), strict=True)))
def test_lock_was_resolved_from_what_is_declared(name, source):
    locked = pins(name)
    for package, requirement in declared(name).items():
        assert requirement.specifier.contains(str(locked[package].specifier).removeprefix("==")), package
    entries = re.split(r"\n(?=\w)", (ROOT / "envs" / name).read_text())
    roots = {entry.partition("==")[0] for entry in entries if f"({source})" in entry}
    assert roots == set(declared(name))


@pytest.mark.parametrize("name", DECLARED)
def test_every_line_of_a_lock_is_a_pin_a_hash_or_a_comment(name):
    line = re.compile(r"[a-z0-9-]+==\S+( ; [^\\]+)? \\|    --hash=sha256:[0-9a-f]{64}(?: \\)?|\s*#.*|")
    assert [text for text in (ROOT / "envs" / name).read_text().splitlines() if not line.fullmatch(text)] == []


def test_groups_agree_on_the_versions_that_both_need():
    runtime, development = pins("requirements.lock"), pins("requirements-dev.lock")
    for name in runtime.keys() & development.keys():
        assert runtime[name].specifier == development[name].specifier, name


def test_torch_is_pinned_apart_and_what_users_do_not_need_is_not_locked():
    assert list(pins("torch.txt")) == ["torch"]
    for name in DECLARED:
        assert [package for package in pins(name) if re.match(r"torch|triton|nvidia-|cuda-", package)] == []
    development = {"pytest", "ruff", "snakefmt", "mypy", "import-linter", "mtdata", "uv"}
    assert not development & pins("requirements.lock").keys()


def test_conda_has_the_pins_of_the_runtime():
    dependencies = yaml.safe_load((ROOT / "envs/nmt.yaml").read_text())["dependencies"]
    assert dependencies[:-1] == ["python=3.11.*", "pip>=25.1"]
    expected = pins("requirements.lock") | pins("torch.txt")
    assert dependencies[-1]["pip"] == [f"{item.name}{item.specifier}" for item in expected.values()]


@pytest.mark.parametrize("path", sorted((ROOT / "envs").iterdir()), ids=lambda path: path.name)
def test_no_index_is_named(path):
    text = path.read_text()
    assert "://" not in text
    assert re.findall(r"--(?:extra-)?index-url|--find-links|--trusted-host", text) == []
    assert re.findall(r"\b[\w-]+\.(?:org|com|net|io|dev|local|internal|corp)\b", text) == []
    assert re.findall(r"(?:^|\s)/\w+", text) == [], "a path of one machine"


def test_this_environment_is_the_locked_one():
    for requirement in [*pins("requirements.lock").values(), *pins("torch.txt").values()]:
        version = importlib.metadata.version(requirement.name)
        assert str(requirement.specifier) == f"=={version.partition('+')[0]}", requirement.name


def test_every_direct_dependency_is_explained():
    text = (ROOT / "docs/dependencies.md").read_text()
    tables = text[text.index("## Workflow") : text.index("## System tools")]
    rows = [
        (name, reason)
        for names, reason in re.findall(r"^\| (`.+?`) \| (.+) \|$", tables, re.MULTILINE)
        for name in re.findall(r"`([^`]+)`", names)
    ]
    expected = set().union(*map(declared, DECLARED)) | {"torch"}
    assert {canonicalize_name(name) for name, _ in rows} == expected
    assert all(len(reason) > 20 for _, reason in rows)
