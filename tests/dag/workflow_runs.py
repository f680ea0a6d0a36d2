"""Run the real Snakefile on copies of the project and record the planned jobs.

Every run is Snakemake's own command line in a process of its own. These processes are forked from a server that has
Snakemake imported, because importing it takes four times as long as a dry-run.
"""

import json
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from project_copy import ROOT

TIMEOUT = 300  # seconds
CLOSED = "http://127.0.0.1:9"  # nothing listens on the discard port

Job = tuple[str, ...]

# Snakemake, and what it and the rules import later
_PRELOADED = ["snakemake.cli", "snakemake.report.html_reporter", "smart_open", "pydantic", "tenacity", "yaml"]
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload([*_PRELOADED, Path(__file__).stem])


@dataclass(frozen=True)
class Run:
    """What one call of Snakemake did.

    ``jobs`` has, for each job that was planned or started, the rule and the values of its wildcards, but not ``all``.
    ``resources`` has rule and resources of the same jobs, in the order in which they were planned.
    """

    returncode: int
    stdout: str
    stderr: str
    jobs: frozenset[Job]
    resources: tuple[tuple[str, dict[str, int | str]], ...]

    @property
    def output(self) -> str:
        """Both streams; a dry-run prints to standard output what a run prints to standard error."""
        return self.stdout + self.stderr


def snakemake(folder: Path, *arguments: str | Path) -> Run:
    """Call ``snakemake`` in a folder, without a mirror folder and without network access."""
    with tempfile.TemporaryDirectory() as scratch:
        stdout, stderr, jobs = (Path(scratch, name) for name in ("stdout", "stderr", "jobs"))
        jobs.touch()
        command = [*map(str, arguments), "--logger", "jobs", "--logger-jobs-file", str(jobs)]
        process = _processes.Process(target=_call, args=(folder, command, _offline(), stdout, stderr))
        process.start()
        process.join(TIMEOUT)
        if process.is_alive():
            process.kill()
            process.join()
        planned = [job for line in jobs.read_text().splitlines() if (job := json.loads(line))[0] != "all"]
        return Run(
            process.exitcode,
            stdout.read_text(),
            stderr.read_text(),
            frozenset((rule, *wildcards.values()) for rule, wildcards, _ in planned),
            tuple((rule, resources) for rule, _, resources in planned),
        )


def dry_run(folder: Path, *arguments: str | Path) -> frozenset[Job]:
    """The jobs that Snakemake would run in a folder."""
    run = snakemake(folder, "-n", *arguments)
    assert run.returncode == 0, run.output
    return run.jobs


def _offline() -> dict[str, str]:
    """The environment without a mirror folder or settings of Snakemake, and with proxies that refuse connections."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("EKD_", "SNAKEMAKE_"))}
    proxies = {f"{scheme}_proxy": CLOSED for scheme in ("http", "https", "ftp", "all")}
    without = {"no_proxy": "", "NO_PROXY": ""}
    return kept | proxies | {name.upper(): value for name, value in proxies.items()} | without


def _call(folder: Path, command: list[str], environment: dict[str, str], stdout: Path, stderr: Path) -> None:
    """In a fresh process: become ``snakemake COMMAND`` in a folder."""
    from snakemake.cli import main

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for stream, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    # pytest puts the project's own commands on the path; the copy must use its own
    sys.path[:] = [entry for entry in sys.path if Path(entry) != ROOT / "workflow_scripts"]
    sys.argv = ["snakemake", *command]
    main(command)


def put_stand_ins(folder: Path) -> None:
    """Replace every command that the rules of a copy call by one that writes its outputs and does no work.

    Imports from a command still work.
    """
    scripts = folder / "workflow_scripts"
    shutil.copy2(Path(__file__).with_name("stand_in.py"), scripts)
    rules = "".join(path.read_text() for path in (folder / "rules").glob("*.smk"))
    for name in set(re.findall(r"\bworkflow_scripts/(\w+)\.py\b", rules)):
        revision = re.findall(r"^REVISION = .*$", (scripts / f"{name}.py").read_text(), re.MULTILINE)
        (scripts / f"{name}.py").rename(scripts / f"real_{name}.py")
        (scripts / f"{name}.py").write_text(
            "\n".join(["import stand_in", *revision, "\n"]) + 'if __name__ == "__main__":\n    stand_in.main()\n'
            f"else:\n    from real_{name} import *\n"
        )
