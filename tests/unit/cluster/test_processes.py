"""Which processes of this machine are controllers of a workflow, and which are its steps."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ekd_nmt.cluster.processes import Process, started_at, steps
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
        assert not steps(tmp_path_factory.mktemp("elsewhere"))
        process.kill()
        wait_for(lambda: not steps(tmp_path))  # it is a zombie then, since nobody has waited for it
        assert process.returncode is None


@pytest.mark.parametrize(
    ("line", "is_led", "is_claimed"),
    [
        ("python workflow_scripts/train.py --output x", False, True),
        ("python -u /f/workflow_scripts/train.py --output x --outcomes y", True, True),
        (
            "python /f/torchrun_entry.py --standalone /f/workflow_scripts/train.py --outcomes y",
            True,
            True,
        ),
        ("python workflow_scripts/cache_teacher.py --output x", False, True),
        ("python workflow_scripts/translate.py --output x", False, True),
        ("python workflow_scripts/fetch.py --output x", False, True),
        ("python workflow_scripts/binarize.py --output-dir x", False, False),
        ("python -m snakemake --target-jobs train:seed=1 --mode remote", False, True),
        ("python -m snakemake --target-jobs score:seed=1 --mode remote", False, False),
        ("python -m snakemake --target-jobs fetch:a=1 collect:b=2 --mode remote", False, False),
        ("python -m snakemake --mode remote --target-jobs fetch:a=1 translate:b=2", False, True),
        ("python -m snakemake --mode remote", False, False),
    ],
)
def test_who_tells_a_step_to_stop_and_whether_its_copy_waits(line, is_led, is_claimed):
    process = Process(1, 1, tuple(line.split()))
    assert (process.is_led, process.is_claimed) == (is_led, is_claimed)


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
        (
            "python /f/workflow_scripts/ekd_nmt/launch/torchrun_entry.py /f/workflow_scripts/train.py --output x",
            False,
            "train.py --output x",
        ),
        ("python /elsewhere/workflow_scripts/train.py --output x", False, None),
        ("python dev/draw_dag.py --output x", False, None),
        ("sleep 60", False, None),
    ],
)
def test_what_a_command_line_says(line, is_controller, task):
    process = Process(1, 1, tuple(line.split()))
    assert (process.is_controller, process.step(Path("/f"))) == (is_controller, task)


def test_when_a_process_started():
    assert abs(started_at(os.getpid()) - time.time()) < 3600
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert abs(started_at(process.pid) - time.time()) < 5
        process.kill()
        wait_for(lambda: started_at(process.pid) is None)  # a zombie
    assert started_at(process.pid) is None
