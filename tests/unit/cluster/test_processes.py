"""Which processes of this machine are controllers of a workflow, and which are its steps."""

from pathlib import Path

import psutil
import pytest

from ekd_nmt.cluster.processes import Process, steps
from ekd_nmt.cluster.rule_table import LEASED
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


@pytest.mark.parametrize(
    ("line", "is_rank", "is_leased"),
    [
        ("python workflow_scripts/train.py --output x", False, True),
        ("python -u /f/workflow_scripts/train.py --output x --outcomes y", True, True),
        ("python /f/torchrun_entry.py --standalone /f/workflow_scripts/train.py --outcomes y", True, True),
        *((f"python workflow_scripts/{name}.py --output x", False, True) for name in sorted(LEASED)),
        ("python workflow_scripts/binarize.py --output-dir x", False, False),
        ("python -m snakemake --target-jobs train:seed=1 --mode remote", False, True),
        ("python -m snakemake --target-jobs score:seed=1 --mode remote", False, False),
        ("python -m snakemake --target-jobs fetch:a=1 collect:b=2 --mode remote", False, False),
        ("python -m snakemake --mode remote --target-jobs fetch:a=1 translate:b=2", False, True),
        ("python -m snakemake --mode remote", False, False),
    ],
)
def test_ranks_and_steps_with_a_lease(line, is_rank, is_leased):
    process = Process(None, tuple(line.split()))
    assert (process.is_rank, process.is_leased) == (is_rank, is_leased)


@pytest.mark.parametrize(
    ("line", "is_controller", "task"),
    [
        ("python /env/bin/snakemake --cores 2", True, None),
        ("/env/bin/python3.11 -m snakemake --profile slurm", True, None),
        ("python workflow_scripts/recover.py --yes", True, None),
        ("python -m snakemake --target-jobs train:seed=1 --mode remote", False, "snakemake train:seed=1"),
        ("python /env/bin/snakemake -n", False, None),
        ("vi snakemake", False, None),
        ("bash -c python workflow_scripts/train.py --output x", False, None),
        ("python /f/torchrun_entry.py /f/workflow_scripts/train.py --output x", False, "train.py --output x"),
        ("python /elsewhere/workflow_scripts/train.py --output x", False, None),
        ("python dev/draw_dag.py --output x", False, None),
        ("sleep 60", False, None),
    ],
)
def test_controllers_and_steps(line, is_controller, task):
    process = Process(None, tuple(line.split()))
    assert (process.is_controller, process.step(Path("/f"))) == (is_controller, task)
