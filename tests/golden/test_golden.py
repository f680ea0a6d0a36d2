"""The output of every step on a tiny input is the recorded one, unless the REVISION of its command was raised.

Record again after that with ``.venv/bin/python -m pytest tests/golden --record``.
"""

import model_steps  # noqa: F401  registers all steps
import pytest
import recording
from golden_steps import STEPS, Step
from recording import Recording, current_revision, differences

from project_copy import ROOT


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    return Recording(tmp_path_factory.mktemp("golden"))


@pytest.mark.parametrize("name", STEPS)
def test_output_is_the_recorded_one(name, golden, request):
    if request.config.getoption("--record", default=False):
        message = golden.record(name)
    elif changed := golden.changed_before(name):
        pytest.skip(f"reads the changed output of {', '.join(changed)}")
    else:
        message = golden.check(name)
    if message:
        pytest.fail(message, pytrace=False)


def test_every_command_with_a_revision_has_a_golden_step():
    commands = (ROOT / "workflow_scripts").glob("*.py")
    revised = {path.stem for path in commands if "\nREVISION = " in path.read_text(encoding="utf-8")}
    assert revised == set(STEPS)
    assert all(current_revision(command) >= 1 for command in revised)


def test_what_is_recorded_are_the_steps(golden):
    assert list(golden.recorded) == list(STEPS)


def test_differences_are_found_and_rounding_is_not():
    expected = {"text": "a\nb\n", "numbers": [1.0, 2.0], "of float16": [1.0]}
    assert differences(expected, expected | {"numbers": [1.00005, 2.0], "of float16": [1.001]}) == []
    assert differences(expected, expected | {"numbers": [1.0, 2.001]}) == [
        "numbers:\n  expected [1.0, 2.0]\n  found    [1.0, 2.001]"
    ]
    (message,) = differences(expected, expected | {"text": "a\nc\n"})
    assert message.endswith("-b\n  +c")
    assert differences({"old": ""}, {"new": ""}) == ["new: is found only", "old: is recorded only"]
    assert len(differences(expected, expected | {"of float16": [1.01]})) == 1
    assert len(differences(expected, expected | {"numbers": [1.0]})) == 1


@pytest.fixture
def two_steps(monkeypatch, tmp_path):
    """``second`` reads what ``first`` writes; returns what they write, their revisions, and how to begin a test run."""
    written, revisions = {"first": "a", "second": "b"}, {"first": 1, "second": 1}
    steps = {
        name: Step(lambda name=name: {"text": written[name]}, needs)
        for name, needs in (("first", ()), ("second", ("first",)))
    }
    monkeypatch.setattr(recording, "STEPS", steps)
    monkeypatch.setattr(recording, "current_revision", revisions.get)
    file = tmp_path / "recorded.json"
    for name in steps:
        assert Recording(tmp_path, file).record(name) is None
    return written, revisions, lambda: Recording(tmp_path, file)


def test_changed_output_fails_until_revision_is_raised_and_recorded(two_steps):
    written, revisions, begin = two_steps
    assert begin().check("first") is None
    written["first"] = "another"
    run = begin()
    assert run.check("first").startswith("output changed: raise REVISION of first, or restore it\n")
    assert run.changed_before("second") == ["first"]
    assert run.record("first").startswith("output changed: raise REVISION of first, or restore it\n")
    assert begin().check("first"), "nothing was recorded"
    revisions["first"] = 2
    assert begin().check("first").endswith(f"record again: {recording.RECORD}")
    assert begin().record("first") is None
    assert begin().check("first") is None


def test_raised_revision_alone_is_recorded_again(two_steps):
    _, revisions, begin = two_steps
    revisions["second"] = 2
    assert begin().check("first") is None
    assert "record again" in begin().check("second")
    assert begin().record("second") is None
    assert begin().check("second") is None


def test_output_of_another_input_needs_no_new_revision(two_steps):
    written, revisions, begin = two_steps
    written |= {"first": "another", "second": "follows"}
    revisions["first"] = 2
    assert begin().record("first") is None
    assert "record again" in begin().check("second")
    assert begin().record("second") is None
    assert begin().check("second") is None
