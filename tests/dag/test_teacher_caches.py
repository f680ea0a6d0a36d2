"""Teacher caches: computed once for all readers, named in the commands, and deleted after use on request."""

import shutil

import pytest
from expected_jobs import MODELS, NOTHING, SENIOR_LINE, TEACHERS, cached, evaluated, rebuilt, trained
from workflow_runs import dry_run, snakemake

pytestmark = pytest.mark.dag

FOLDER = "results/demo/{}/seed1/cache/{}"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--config", "seeds=[3,7,8]"], cached(*TEACHERS, seeds=["3"])),
        (["--config", "seeds=[3,7]", "distillation={teacher_seed: same}"], cached(*TEACHERS, seeds=["3", "7"])),
        (["--config", "distillation={teacher_mode: online}"], NOTHING),
        (["results/demo/junior_student/seed1/model.pt"], cached("junior_teacher")),
    ],
)
def test_planned_caches(fresh_clone, arguments, expected):
    run = snakemake(fresh_clone, "-n", *arguments)
    assert {job for job in run.jobs if job[0] == "cache_teacher"} == expected
    assert run.stdout.count("\nrule cache_teacher:") == len(expected)


def test_commands_name_the_cache_and_what_it_stores(fresh_clone, tmp_path):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("systems: {takd_student: {temperature: 2}, junior_student: {teacher_mode: online}}\n")
    commands = " ".join(snakemake(fresh_clone, "-n", "-p", "--configfile", overlay).stdout.split())
    cache, model = FOLDER.format("takd_assistant", "top32-T2.0"), "results/demo/takd_assistant/seed1/model.pt"
    assert (
        f"cache_teacher.py --teacher {model} --data results/demo/data/bin --top-k 32 --temperature 2.0 "
        f"--threads 1 --output {cache} --summary {cache}.json 2>"
    ) in commands
    assert f"--teacher {model} --teacher-cache {cache}" in commands
    assert "--teacher results/demo/junior_teacher/seed1/model.pt --threads" in commands


# Temporary caches


def run(project, *targets):
    ran = snakemake(project.folder, "--cores", "2", "--scheduler", "greedy", *targets)
    assert ran.returncode == 0, ran.stderr
    return ran.jobs


def test_temporary_caches_are_deleted_after_their_last_reader(project):
    caches = [project.folder / FOLDER.format(teacher, "top32") for teacher in TEACHERS]
    assert all(cache.is_dir() for cache in caches)
    project.edit({"distillation.keep_cache": False, "training.lr": 1e-3})
    assert run(project) == MODELS
    assert not any(cache.exists() for cache in caches)
    assert all(cache.with_suffix(".json").is_file() for cache in caches), "the tables need the summaries"
    assert dry_run(project.folder) == NOTHING
    assert dry_run(project.folder, "models") == NOTHING

    project.edit({"systems.takd_student.alpha": 0.3})
    assert run(project) == cached("takd_assistant") | trained("takd_student")
    assert not any(cache.exists() for cache in caches)
    assert dry_run(project.folder) == NOTHING


def test_recomputed_temporary_cache_reruns_all_its_readers(project):
    """Snakemake cannot know that the new cache equals the old one. A named target runs alone."""
    project.edit({"distillation.keep_cache": False})
    for teacher in TEACHERS:
        shutil.rmtree(project.folder / FOLDER.format(teacher, "top32"))
    project.edit({"systems.senior_student.alpha": 0.3})
    readers_line = [system for system in SENIOR_LINE if system != "senior_teacher"]
    assert dry_run(project.folder) == cached("senior_teacher") | rebuilt(*readers_line)

    alone = run(project, "results/demo/senior_student/seed1/model.pt")
    assert alone == cached("senior_teacher") | {("train", "senior_student", "1")}
    assert not (project.folder / FOLDER.format("senior_teacher", "top32")).exists()
    assert dry_run(project.folder) == evaluated("senior_student")
