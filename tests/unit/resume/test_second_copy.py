"""A second copy of translate or cache_teacher waits for the first and keeps its result, if that is complete."""

import json
import shutil
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import cache_teacher
import handlers
import tiny_cache
import tiny_steps
import translate
from ekd_nmt.common.signals import STOP_SIGNALS
from ekd_nmt.resume import lease

# models are trained and built by fairseq, whose warnings are not ours
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
KEPT = "so it is kept"


@dataclass
class Made:
    """What a step has made in a folder, and the key of its job."""

    make: Callable[[Path], tiny_steps.Step]
    folder: Path
    key: str


@pytest.fixture(scope="module", params=[tiny_steps.translation, tiny_steps.caching], ids=["translation", "caching"])
def made(request, plain, tiny_corpus, tmp_path_factory):
    folder, keys = tmp_path_factory.mktemp("made"), set()

    def make(place: Path) -> tiny_steps.Step:
        return request.param(plain, tiny_corpus, place / "output")

    with pytest.MonkeyPatch.context() as patch, handlers.given_back():
        patch.setattr(lease.Lease, "check", lambda self: keys.add(self._folder.name))
        make(folder).run()
    (key,) = keys
    return Made(make, folder, key)


@pytest.fixture
def computed(monkeypatch):
    """Counts what is computed."""
    from kd.beam_search import Search
    from kd.teacher import Teacher

    calls = []
    for owner, name in ((Search, "_search"), (Teacher, "teach")):
        original = getattr(owner, name)

        def counting(*arguments, original=original, **options):
            calls.append(1)
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, counting)
    return calls


@pytest.fixture
def second(made, tmp_path, monkeypatch):
    """Run a second copy in a folder. The first one does something once it is waited for, and ends."""
    step = made.make(tmp_path / "run")
    folder, say = tmp_path / "run" / "progress" / made.key, lease.say

    def run(first: Callable[[], object]) -> dict[str, bytes]:
        started, waited_for = threading.Event(), threading.Event()
        monkeypatch.setattr(lease, "say", lambda line: (say(line), waited_for.set()))

        def work() -> None:
            with lease.hold(folder, "train"):
                started.set()
                if waited_for.wait(60):
                    first()

        thread = threading.Thread(target=work)
        thread.start()
        started.wait(60)
        step.run()
        thread.join()
        assert not (tmp_path / "run" / "progress").exists(), "unfinished work is left"
        return tiny_cache.content(tmp_path / "run")

    run.progress, run.folder = folder, tmp_path / "run"
    return run


def put(made: Made, folder: Path) -> None:
    shutil.copytree(made.folder, folder, dirs_exist_ok=True)


def test_what_the_first_has_made_is_kept(made, second, computed, capsys):
    def first():
        put(made, second.folder)
        # as if it was killed after publishing
        (second.progress / "chunks").mkdir()
        (second.progress / "chunks" / "000000.jsonl").touch()
        (second.progress / "job.json").touch()

    assert second(first) == tiny_cache.content(made.folder)
    assert not computed
    log = capsys.readouterr().err
    assert "waiting up to" in log
    assert f"{second.folder / 'output'}: another process has made it " in log
    assert log.endswith(f"{KEPT}\n")
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == [signal.SIG_IGN] * len(STOP_SIGNALS)


@pytest.mark.parametrize("before", [False, True], ids=["no result", "an earlier result"])
def test_a_first_that_made_nothing(made, second, computed, before, capsys):
    """What was there before is to be replaced."""
    if before:
        put(made, second.folder)
    found, expected = second(lambda: None), tiny_cache.content(made.folder)
    assert found.keys() == expected.keys()
    assert {name for name in found if found[name] != expected[name]} <= {"output.json"}, "more than times differ"
    assert computed
    assert KEPT not in capsys.readouterr().err


DAMAGES = {
    "translation": {
        "a line too few": lambda lines: lines[:-1],
        "a line too many": lambda lines: [*lines, lines[-1]],
        "half a line": lambda lines: [*lines[:-1], lines[-1][:9]],
        "another order": lambda lines: lines[::-1],
        "no results": lambda lines: ["[]\n"] * len(lines),
    },
    "caching": {
        "no summary": lambda cache: cache.with_suffix(".json").unlink(),
        "no cache": shutil.rmtree,
        "no meta.json": lambda cache: (cache / "meta.json").unlink(),
        "another meta.json": lambda cache: tiny_cache.flip(cache / "meta.json"),
        "another key": lambda cache: cache.with_suffix(".json").write_text(
            json.dumps(json.loads(cache.with_suffix(".json").read_text()) | {"key": "0123456789abcdef"})
        ),
        "half a summary": lambda cache: cache.with_suffix(".json").write_text("{"),
    },
}


@pytest.mark.parametrize(
    ("made", "damage"),
    [
        pytest.param(getattr(tiny_steps, work), damage, id=f"{work}, {name}")
        for work, damages in DAMAGES.items()
        for name, damage in damages.items()
    ],
    indirect=["made"],
)
def test_an_incomplete_or_foreign_result_is_not_kept(made, tmp_path, damage):
    put(made, tmp_path)
    step = made.make(tmp_path)
    if step.main is cache_teacher.main:
        arguments = cache_teacher.parse_arguments(step.arguments[1:])
        assert cache_teacher.is_complete(arguments, made.key)
        damage(step.output)
        assert not cache_teacher.is_complete(arguments, made.key)
    else:
        arguments = translate.parser().parse_args(step.arguments[1:])
        texts = [path.read_text().splitlines() for path in (arguments.source, arguments.reference)]
        assert translate.is_complete(step.output, *texts)
        step.output.write_text("".join(damage(step.output.read_text().splitlines(keepends=True))))
        assert not translate.is_complete(step.output, *texts)
