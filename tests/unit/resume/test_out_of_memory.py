"""out_of_memory.py: what did not fit is remembered, and a kill for want of memory is told from others."""

import json
import os

import pytest

from ekd_nmt.common.errors import UserError
from ekd_nmt.resume import out_of_memory
from ekd_nmt.resume.out_of_memory import add, is_out_of_memory, kill_counter, killed_for_memory, read

OWNER = {"pid": 12, "host": "node1", "job": "7", "kills": None}


def test_halvings_are_remembered(tmp_path):
    assert read(tmp_path) == []
    add(tmp_path, "too large", 3, 0)
    add(tmp_path, "said by another rank", 3, 0)
    add(tmp_path, "still too large", None, 1)
    assert [(each["cause"], each["update"]) for each in read(tmp_path)] == [("too large", 3), ("still too large", None)]


def test_batches_are_not_halved_for_ever(tmp_path):
    for halvings in range(out_of_memory.MOST_HALVINGS):
        add(tmp_path, "too large", 1, halvings)
    with pytest.raises(UserError, match="too large, though batches are halved 6 times already; ask for more memory"):
        add(tmp_path, "too large", 1, out_of_memory.MOST_HALVINGS)


def test_a_damaged_file_is_no_reason_to_forget(tmp_path):
    (tmp_path / out_of_memory.FILE).write_text("[")
    with pytest.raises(UserError, match="damaged"):
        read(tmp_path)


def test_what_is_about_memory():
    import torch

    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert is_out_of_memory(MemoryError())
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.int8)
    assert is_out_of_memory(caught.value), caught.value
    assert not is_out_of_memory(RuntimeError("size mismatch"))


def test_the_kernel_counts_the_kills_of_this_group():
    counter = kill_counter()
    if counter is None:
        pytest.skip("this kernel shows no count of kills for want of memory")
    assert counter["count"] >= 0
    assert killed_for_memory(OWNER | {"job": None, "kills": counter}, None) is None
    cause = killed_for_memory(OWNER | {"job": None, "kills": counter | {"count": counter["count"] - 1}}, None)
    assert cause == f"the kernel of {counter['host']} killed process 12 for want of memory"


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
    counter = kill_counter()
    assert (counter["file"], counter["count"]) == (str(file), 2)
    owner = OWNER | {"job": None, "kills": counter}
    assert killed_for_memory(owner, None) is None
    file.write_text(text.replace("oom_kill 2", "oom_kill 3"))
    assert "for want of memory" in killed_for_memory(owner, None)
    for other in ({"host": "elsewhere"}, {"boot": "another"}):
        assert killed_for_memory(owner | {"kills": counter | other}, None) is None


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Stand-ins for sacct and scontrol that say a text, or fail."""

    def install(**answers: str | None):
        for name, answer in answers.items():
            command = "exit 1" if answer is None else f"printf '%s\\n' {json.dumps(answer)}"
            (tmp_path / name).write_text(f"#!/bin/sh\n{command}\n")
            (tmp_path / name).chmod(0o755)
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
def test_slurm_tells_why_a_job_has_ended(slurm, answers, found):
    slurm(**answers)
    assert killed_for_memory(OWNER, "8") == ("SLURM job 7 was killed for want of memory" if found else None)


def test_a_requeued_job_is_not_asked_about_itself(slurm):
    slurm(sacct="OUT_OF_MEMORY")
    assert killed_for_memory(OWNER, "7") is None
