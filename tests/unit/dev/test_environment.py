"""requirements.in, the lock, the conda environment, the documentation and what is installed agree."""

import importlib.metadata
import re
from pathlib import Path

import pytest
import yaml

from build_env import LOCK, MINIMUM_PIP, TORCH, holds, normalized, read_pins, wanted
from lock_env import CONDA, LEFT_OUT, REQUIREMENTS, blocks, conda_text, lock_text

ROOT = Path(__file__).parents[3]
# of declared dependencies, the one that conda's pip insists on and the lock leaves out
CONDA_ONLY = {"torchaudio"}


@pytest.fixture(scope="module")
def direct():
    return read_pins(ROOT / REQUIREMENTS)


@pytest.fixture(scope="module")
def locked():
    return blocks((ROOT / LOCK).read_text())


@pytest.fixture(scope="module")
def conda():
    return yaml.safe_load((ROOT / CONDA).read_text())


def conda_pins(conda):
    pip = next(entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict))
    return dict(pin.split("==") for pin in pip)


def test_requirements_are_all_pinned(direct):
    lines = [line for line in (ROOT / REQUIREMENTS).read_text().splitlines() if line and not line.startswith("#")]
    assert len(direct) == len(lines) > 0


def test_lock_has_what_the_requirements_say(direct):
    pins = read_pins(ROOT / LOCK)
    assert {name: pins.get(name) for name in direct} == direct


def test_lock_has_nothing_that_the_requirements_dropped(direct, locked):
    roots = {name for name, text in locked.items() if f"-r {REQUIREMENTS}" in text}
    assert roots == set(direct)
    for name, text in locked.items():
        reasons = {normalized(word) for word in re.findall(r"#\s+(?:via )?([A-Za-z][\w.-]*)$", text, re.MULTILINE)}
        assert name in direct or reasons & (locked.keys() | {"torch"}), f"nothing needs {name}"


def test_lock_pins_everything_with_hashes(locked):
    assert len(locked) > 50
    for name, text in locked.items():
        assert re.search(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$", text, re.MULTILINE), name
    # every line is one of a pin, a hash, a comment; an unhashed or unpinned requirement is none of them
    line = re.compile(r"[a-z0-9-]+==\S+ \\|    --hash=sha256:[0-9a-f]{64}(?: \\)?|\s*#.*")
    assert [text for text in (ROOT / LOCK).read_text().splitlines() if not line.fullmatch(text)] == []


def test_lock_leaves_torch_and_cuda_out(locked):
    assert [name for name in locked if LEFT_OUT.match(name)] == []
    assert list(read_pins(ROOT / TORCH)) == ["torch"]


def test_conda_has_the_same_pins(conda):
    pins = conda_pins(conda)
    assert pins.keys() >= CONDA_ONLY
    assert {name: version for name, version in pins.items() if name not in CONDA_ONLY} == (
        read_pins(ROOT / LOCK) | read_pins(ROOT / TORCH)
    )
    assert [entry for entry in conda["dependencies"] if isinstance(entry, str)] == [
        "python=3.11.*",
        f"pip>={MINIMUM_PIP}",
    ]


@pytest.mark.parametrize("path", sorted((ROOT / "envs").iterdir()), ids=lambda path: path.name)
def test_no_index_is_named(path):
    text = path.read_text()
    assert "://" not in text
    assert re.findall(r"--(?:extra-)?index-url|--find-links|--trusted-host", text) == []
    assert re.findall(r"\b[\w-]+\.(?:org|com|net|io|dev|local|internal|corp)\b", text) == []
    assert re.findall(r"(?:^|\s)/\w+", text) == [], "a path of one machine"


def test_this_environment_is_the_locked_one():
    found = {normalized(item.name): item.version for item in importlib.metadata.distributions()}
    pins = {name: version for name, version in wanted(ROOT).items() if name != "python"}
    assert holds(found, pins), {
        name: (found.get(name), version) for name, version in pins.items() if not holds(found, {name: version})
    }


def test_every_direct_dependency_is_explained(direct):
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \|$", (ROOT / "docs/dependencies.md").read_text(), re.MULTILINE)
    assert {normalized(name) for name, _ in rows} == direct.keys() | {"torch"}
    assert all(len(reason) > 20 for _, reason in rows)


RESOLVED = """\
demo==1.0 \\
    --hash=sha256:aa
    # via -r envs/requirements.in
nvidia-cublas==13.1 \\
    --hash=sha256:bb
    # via torch
Py_Spy==2.0 \\
    --hash=sha256:cc
    # via demo
torch==2.13.0 \\
    --hash=sha256:dd
    # via -c envs/torch.txt
"""


def test_resolution_is_split_and_cuda_left_out():
    found = blocks(RESOLVED)
    assert list(found) == ["demo", "nvidia-cublas", "py-spy", "torch"]
    assert "".join(found.values()) == RESOLVED
    text = lock_text(found)
    assert "demo==1.0" in text
    assert "Py_Spy==2.0" in text
    assert "torch==" not in text
    assert "nvidia" not in text


def test_conda_text_is_what_the_file_holds(conda):
    pins = conda_pins(conda)
    text = conda_text(read_pins(ROOT / LOCK), read_pins(ROOT / TORCH), pins["torchaudio"])
    assert (ROOT / CONDA).read_text() == text
