"""Fixtures of the distillation tests. fairseq takes seconds to import, so only the tests that ask for it pay."""

import pytest


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
    from tiny_models import fingerprints, make_model, model_options, save_checkpoint

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
