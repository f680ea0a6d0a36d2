"""Which processes of this machine are controllers of a workflow, and which are its steps."""

from pathlib import Path

import psutil
import pytest

from ekd_nmt.cluster.processes import Process, steps
from left_behind import RUN, put_step, step, wait_for


def test_steps_are_those_of_this_folder(tmp_path, tmp_path_factory, monkeypatch):
    put_step(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with step(job="11") as process:
        found = steps(tmp_path)
        assert {each.pid: (each.job, task) for each, task in found.items()} == {
            process.pid: ("11", f"train.py --output {RUN}")
        }
        assert list(steps(tmp_path)) == list(found), "the same process is another one"
        assert next(iter(found)).handle == psutil.Process(process.pid)
        assert not steps(tmp_path_factory.mktemp("elsewhere"))
        process.kill()
        wait_for(lambda: not steps(tmp_path))  # a zombie then
        assert process.returncode is None


NONE, CONTROLLER, RANK, LEASED = "", "controller", "rank leased", "leased"
TORCHRUN = "python /f/workflow_scripts/ekd_nmt/launch/torchrun_entry.py --standalone"


@pytest.mark.parametrize(
    ("line", "what", "task"),
    [
        ("python workflow_scripts/train.py --output x", LEASED, "train.py --output x"),
        ("python -u /f/workflow_scripts/train.py --output x --outcomes y", RANK, "train.py --output x"),
        (f"{TORCHRUN} /f/workflow_scripts/train.py --output x --outcomes y", RANK, "train.py --output x"),
        ("python workflow_scripts/cache_teacher.py --output x", LEASED, "cache_teacher.py --output x"),
        ("python workflow_scripts/translate.py --output x", LEASED, "translate.py --output x"),
        ("python workflow_scripts/fetch.py --output x", LEASED, "fetch.py --output x"),
        ("python workflow_scripts/binarize.py --output-dir x", NONE, "binarize.py --output-dir x"),
        ("python -m snakemake --target-jobs train:seed=1 --mode remote", LEASED, "snakemake train:seed=1"),
        ("python -m snakemake --target-jobs score:seed=1 --mode remote", NONE, "snakemake score:seed=1"),
        ("python -m snakemake --target-jobs fetch:a=1 collect:b=2 --mode x", NONE, "snakemake fetch:a=1 collect:b=2"),
        ("python -m snakemake --mode x --target-jobs fetch:a translate:b", LEASED, "snakemake fetch:a translate:b"),
        ("python -m snakemake --mode remote", NONE, "snakemake "),
        ("python /env/bin/snakemake --cores 2", CONTROLLER, None),
        ("/env/bin/python3.11 -m snakemake --profile slurm", CONTROLLER, None),
        ("python workflow_scripts/recover.py --yes", CONTROLLER, None),
        ("python /env/bin/snakemake -n", NONE, None),
        ("vi snakemake", NONE, None),
        ("bash -c python workflow_scripts/train.py --output x", NONE, None),
        ("python /elsewhere/workflow_scripts/score.py --output x", NONE, None),
        ("python dev/draw_dag.py --output x", NONE, None),
        ("sleep 60", NONE, None),
    ],
)
def test_what_a_command_line_is(line, what, task):
    process = Process(None, tuple(line.split()))
    found = [name for name in ("controller", "rank", "leased") if getattr(process, f"is_{name}")]
    assert (" ".join(found), process.step(Path("/f"))) == (what, task)
