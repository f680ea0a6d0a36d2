"""out_of_memory.py: how errors and kills because of memory are recognised."""

import json
import os

import pytest

from ekd_nmt.resume import out_of_memory
from ekd_nmt.resume.lease import Owner
from ekd_nmt.resume.out_of_memory import is_out_of_memory, killed_for_memory, oom_kill_count


def owner(oom_kills=None, job=None):
    return Owner(pid=12, host="node1", job=job, oom_kills=oom_kills)


def test_errors_about_memory():
    import torch

    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert is_out_of_memory(MemoryError())
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.int8)
    assert is_out_of_memory(caught.value), caught.value
    assert not is_out_of_memory(RuntimeError("size mismatch"))


def test_the_kernel_counts_the_kills_of_this_memory_group():
    counter = oom_kill_count()
    if counter is None:
        pytest.skip("this kernel shows no count of such kills")
    assert counter["count"] >= 0
    assert killed_for_memory(owner(counter)) is None
    cause = killed_for_memory(owner(counter | {"count": counter["count"] - 1}))
    assert cause == f"process 12 ran out of memory, and the kernel of {counter['host']} killed it"


@pytest.mark.parametrize(
    ("line", "path", "text"),
    [
        ("0::/slurm/job_7", "slurm/job_7/memory.events", "low 0\noom 3\noom_kill 2\noom_group_kill 0\n"),
        ("4:memory:/user", "memory/user/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
    ],
)
def test_both_versions_of_groups(tmp_path, monkeypatch, line, path, text):
    (tmp_path / "self").write_text(f"9:cpu:/\n{line}\n")
    file = tmp_path / "groups" / path
    file.parent.mkdir(parents=True)
    file.write_text(text)
    monkeypatch.setattr(out_of_memory, "_SELF", tmp_path / "self")
    monkeypatch.setattr(out_of_memory, "_GROUPS", tmp_path / "groups")
    counter = oom_kill_count()
    assert (counter["file"], counter["count"]) == (str(file), 2)
    assert killed_for_memory(owner(counter)) is None
    file.write_text(text.replace("oom_kill 2", "oom_kill 3"))
    assert "process 12 ran out of memory" in killed_for_memory(owner(counter))
    for other in ({"host": "elsewhere"}, {"boot": "another"}):
        assert killed_for_memory(owner(counter | other)) is None


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Stand-ins for sacct and scontrol that print a text, or fail; this process runs in job 8."""

    def install(**answers: str | None):
        for name, answer in answers.items():
            command = "exit 1" if answer is None else f"printf '%s\\n' {json.dumps(answer)}"
            (tmp_path / name).write_text(f"#!/bin/sh\n{command}\n")
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("SLURM_JOB_ID", "8")
        monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path), os.environ["PATH"]]))

    return install


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        ({"sacct": "OUT_OF_MEMORY"}, True),
        ({"sacct": "CANCELLED by 0"}, False),
        ({"sacct": "", "scontrol": "JobId=7 JobName=a JobState=OUT_OF_MEMORY Reason=None"}, True),
        ({"sacct": None, "scontrol": "JobId=7 JobName=a JobState=TIMEOUT Reason=None"}, False),
        ({"sacct": None, "scontrol": None}, False),
    ],
)
def test_slurm_knows_why_a_job_has_ended(slurm, answers, found):
    slurm(**answers)
    assert killed_for_memory(owner(job="7")) == (
        "SLURM job 7 ran out of memory, and SLURM killed it" if found else None
    )


def test_slurm_is_not_asked_about_the_job_of_this_process(slurm):
    slurm(sacct="OUT_OF_MEMORY")
    assert killed_for_memory(owner(job="8")) is None
