"""Fixtures that several tests share. fairseq takes seconds to import, so only those that ask for it pay."""

import pytest

import handlers
from failing_server import serving


@pytest.fixture
def task():
    from tiny_models import make_task

    return make_task()


@pytest.fixture
def student(task):
    from tiny_models import make_model

    return make_model(task)


@pytest.fixture
def sample(task):
    from tiny_models import make_sample

    return make_sample(task)


@pytest.fixture
def teacher_path(task, tmp_path):
    """A teacher larger than the student, with dropout 0.3 in its options, saved as the workflow saves it."""
    from kd.dictionaries import fingerprints
    from tiny_models import make_model, model_options, save_checkpoint

    path = tmp_path / "teacher.pt"
    model = make_model(task, dim=12, dropout=0.3, seed=2)
    save_checkpoint(path, model, model_options(dim=12, dropout=0.3), fingerprints(task))
    return path


@pytest.fixture
def make_kd(task, teacher_path):
    """Build the criterion ``label_smoothed_kd``, by default with the teacher of ``teacher_path``."""
    from tiny_models import make_criterion

    def build(**options):
        return make_criterion(task, "label_smoothed_kd", **{"teacher": str(teacher_path), **options})

    return build


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory):
    """Folder of the binarised corpus of :mod:`tiny_training`; not to be changed."""
    from tiny_training import write_corpus

    return write_corpus(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def plain(tiny_corpus, tmp_path_factory):
    """Model file of the system ``plain`` of :mod:`tiny_training`, trained without interruption; read only."""
    from tiny_training import options, run_training

    return run_training(tiny_corpus, tmp_path_factory.mktemp("plain"), options("plain"))


@pytest.fixture(scope="session")
def teacher(tiny_corpus, tmp_path_factory):
    """Model file of the system ``teacher`` of :mod:`tiny_training`, trained for an epoch; not to be changed."""
    from tiny_training import options, run_training

    return run_training(tiny_corpus, tmp_path_factory.mktemp("teacher"), options("teacher", max_epoch=1))


@pytest.fixture(scope="session")
def configuration(tiny_corpus, tmp_path_factory):
    """fairseq's configuration of the system ``plain``; made once because that takes a second. Not to be changed."""
    from kd.setup import prepare
    from tiny_training import options

    folder = tmp_path_factory.mktemp("configuration")
    return prepare(options(), data=tiny_corpus, progress=folder, seed=1, cpu=True, say=lambda line: None).cfg


@pytest.fixture
def start(configuration, tmp_path):
    """Start or resume a training: ``start("name")`` has its checkpoints in a folder of that name."""
    import tiny_loop

    return lambda name="run", **checkpoint: tiny_loop.start(configuration, tmp_path / name, **checkpoint)


@pytest.fixture(scope="session")
def uninterrupted_training(configuration, tmp_path_factory):
    """Model and history of the training that ``start`` starts, run without an interruption."""
    from tiny_loop import result, run, start

    return result(run(start(configuration, tmp_path_factory.mktemp("uninterrupted"))))


@pytest.fixture(scope="session")
def cached_model(tiny_corpus, tmp_path_factory):
    """Model file of a teacher, untrained; not to be changed."""
    import tiny_cache

    return tiny_cache.save_teacher(tiny_corpus, tmp_path_factory.mktemp("teacher") / "model.pt")


@pytest.fixture(scope="session")
def cache_request(cached_model, tiny_corpus):
    """What to cache of that teacher."""
    import tiny_cache

    return tiny_cache.request(cached_model, tiny_corpus)


@pytest.fixture(scope="session")
def uninterrupted_cache(cache_request, tmp_path_factory):
    """Content of the cache of that request, written without an interruption."""
    import tiny_cache

    return tiny_cache.content(tiny_cache.write(cache_request, tmp_path_factory.mktemp("uninterrupted")))


@pytest.fixture(autouse=True)
def signal_handlers():
    """Steps set handlers, and in the end ignore stop signals, as would all that is started after that."""
    with handlers.given_back():
        yield


@pytest.fixture
def server(monkeypatch):
    """A local server whose answers a test chooses, and no mirror folder."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("EKD_DATA_MIRROR", raising=False)
    with serving() as instance:
        yield instance


@pytest.fixture(scope="module")
def lexicon():
    """The words of a small generated corpus; a module that needs others has a fixture of this name."""
    from synthetic.dice import Dice
    from synthetic.lexicon import Lexicon

    return Lexicon(600, 1.0, Dice(11))
