"""A SLURM cluster of one node and made-up GPUs, for the time of a test.

It needs root and SLURM's programs, but no systemd, no cgroups and no GPU. Nothing enforces what jobs ask for: jobs see
all processors and all memory of the machine, and a GPU is a device node that does nothing.

SLURM's commands find the cluster through ``$SLURM_CONF``. Inside a job the executor of Snakemake takes that away, so
/etc/slurm must have the configuration too. Where mount namespaces are permitted, only the daemons and their jobs see it
there, and several clusters can run side by side; elsewhere it is linked into the real /etc/slurm, for one cluster at a
time, and one that has a configuration of its own is left alone.
"""

import contextlib
import fcntl
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from slurm_configuration import HEADER, free_ports, munge_socket, slurm_conf, slurmdbd_conf

SYSTEM = Path("/etc/slurm")
KEEPER = Path(__file__).with_name("keeper.py")
COMMANDS = ("munged", "slurmctld", "slurmd", "scontrol", "squeue", "sinfo", "sbatch", "srun", "scancel")
ACCOUNTING = ("slurmdbd", "sacct", "sacctmgr", "mariadbd", "mariadb-install-db", "mariadb", "mariadb-admin")
START = 60  # seconds that a daemon has to come up
QUEUE = 900  # seconds to wait for another cluster on this machine
PATHS = "/usr/sbin:/sbin:/usr/bin:/bin"  # daemons are not on everybody's path


def missing(accounting: bool = True) -> str | None:
    """Why no cluster can be started here, or nothing."""
    if os.geteuid() != 0:
        return "a SLURM cluster can only be started by root"
    names = [*COMMANDS, *(ACCOUNTING if accounting else ())]
    absent = [name for name in names if shutil.which(name, path=PATHS) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (Debian: slurm-wlm munge slurmdbd mariadb-server)"
    if not _private_mounts() and _foreign():
        return f"{SYSTEM}/slurm.conf belongs to another cluster, and mount namespaces are not permitted"
    return None


@functools.cache
def _private_mounts() -> bool:
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0


def _foreign() -> bool:
    """Whether the machine has a configuration that no test cluster has left there."""
    path = SYSTEM / "slurm.conf"
    return path.exists() and HEADER not in path.read_text(errors="replace")


class Cluster:
    """A running cluster, between ``with`` and its end.

    Args:
        base: a folder for its configuration, state and logs; made if it is not there. Its path must be short: sockets
            lie in it, whose paths have at most 107 characters.
        gpus: devices of the node.
        cpus: processors that the node pretends to have.
        memory_mb: memory that it pretends to have.
        accounting: keep accounts, so that ``sacct`` works.

    ``environment`` is what commands need to find the cluster, the controller among them.
    """

    def __init__(
        self, base: Path, *, gpus: int = 2, cpus: int = 4, memory_mb: int = 8000, accounting: bool = False
    ) -> None:
        self.base = base.resolve()
        self.gpus, self.cpus, self.memory_mb, self.accounting = gpus, cpus, memory_mb, accounting
        self.conf = self.base / "etc"
        self.socket = munge_socket(self.base)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
        path = os.pathsep.join([kept.get("PATH", os.defpath), PATHS])
        self.environment = kept | {"SLURM_CONF": str(self.conf / "slurm.conf"), "PATH": path}
        self._keepers: dict[str, list[subprocess.Popen]] = {}
        self._daemons: dict[str, int] = {}
        self._links: list[Path] = []

    def __enter__(self) -> "Cluster":
        if reason := missing(self.accounting):
            raise RuntimeError(reason)
        if len(str(self.socket)) > 107:
            raise ValueError(f"{self.socket}: the path of a socket has at most 107 characters; choose a shorter one")
        with contextlib.ExitStack() as stack:
            if not _private_mounts():
                stack.enter_context(_alone_on_this_machine())
            stack.callback(self._stop_all)
            self._configure()
            # --force: the folder may be its owner's alone, as temporary ones are
            self._start("munged", "--foreground", "--force", f"--socket={self.socket}",
                        f"--key-file={self.base}/munge.key", f"--pid-file={self.base}/munged.pid",
                        f"--log-file={self.base}/munged.log", f"--seed-file={self.base}/munge.seed")  # fmt: skip
            self._wait("munged", self.socket.exists)
            if self.accounting:
                self._start_accounting()
            self.start_slurmctld()
            self.start_slurmd()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def command(self, *words: str | Path) -> str:
        """Standard output of one of SLURM's commands.

        Raises:
            RuntimeError: it failed, with what it said.
        """
        done = subprocess.run(
            [*map(str, words)], env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, words))}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def jobs(self) -> list[dict]:
        """All jobs in the order of their submission, finished ones too.

        Each has ``id``, ``name``, ``comment``, ``state``, ``reason``, ``partition``, ``gpus`` (a number), ``workdir``,
        ``restarts`` (a number), ``time_limit``, and in ``all`` whatever ``scontrol show job`` tells.
        """
        found = []
        for line in self.command("scontrol", "--oneliner", "show", "job").splitlines():
            told = dict(re.findall(r"(?:^|\s)(\w[\w/:]*)=(.*?)(?=\s+\w[\w/:]*=|\s*$)", line))
            if "JobId" not in told:  # "No jobs in the system"
                continue
            gpus = re.search(r"gpu(?:[:/]\w*[a-z]\w*)?[:=](\d+)", told.get("TresPerJob", told.get("TresPerNode", "")))
            found.append(
                {
                    "id": told["JobId"],
                    "name": told["JobName"],
                    "comment": told.get("Comment", ""),
                    "state": told["JobState"],
                    "reason": told["Reason"],
                    "partition": told["Partition"],
                    "gpus": int(gpus[1]) if gpus else 0,
                    "workdir": told["WorkDir"],
                    "restarts": int(told["Restarts"]),
                    "time_limit": told["TimeLimit"],
                    "all": told,
                }
            )
        return sorted(found, key=lambda job: int(job["id"]))

    def start_slurmctld(self) -> None:
        """Start the controller and wait until it answers."""
        self._start("slurmctld", "-D", own_configuration=True)
        self._wait("slurmctld", lambda: "UP" in self.command("scontrol", "ping"))

    def kill_slurmctld(self) -> None:
        """SIGKILL the controller. Jobs run on."""
        self._kill("slurmctld")

    def start_slurmd(self) -> None:
        """Start the node's daemon and wait until the node takes jobs, or is drained for those that it ran before."""
        self._start("slurmd", "-D", own_configuration=True)
        usable = {"idle", "mixed", "allocated", "completing", "draining", "drained"}
        self._wait("slurmd", lambda: set(self.command("sinfo", "--noheader", "--format=%T").split()) <= usable)

    def kill_slurmd(self) -> None:
        """SIGKILL the node's daemon, as if the node were lost. Its jobs run on, unseen by the controller."""
        self._kill("slurmd")

    def _start(self, name: str, *arguments: str, own_configuration: bool = False) -> None:
        """Start a daemon in the foreground, under a keeper."""
        command = [sys.executable, "-I", "-S", str(KEEPER), shutil.which(name, path=PATHS) or name, *arguments]
        if own_configuration and _private_mounts():
            bind = f'mount --bind "{self.conf}" {SYSTEM} && exec "$@"'
            command = ["unshare", "--mount", "sh", "-c", bind, "sh", *command]
        with (self.base / f"{name}.out").open("ab") as log:
            keeper = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=self.environment, cwd="/"
            )
        self._keepers.setdefault(name, []).append(keeper)
        started = keeper.stdout.readline()
        if not started.strip():
            raise RuntimeError(f"{name} could not be started:\n{self._logs(name)}")
        self._daemons[name] = int(started)

    def _kill(self, name: str) -> None:
        daemon = self._daemons.pop(name)
        os.kill(daemon, signal.SIGKILL)
        while Path(f"/proc/{daemon}").exists():
            time.sleep(0.01)

    def _wait(self, name: str, up) -> None:
        """Until a daemon is up."""
        end = time.monotonic() + START
        while True:
            with contextlib.suppress(RuntimeError):
                if up():
                    return
            if time.monotonic() > end or not Path(f"/proc/{self._daemons[name]}").exists():
                raise RuntimeError(f"{name} did not come up:\n{self._logs(name)}")
            time.sleep(0.2)

    def _logs(self, name: str) -> str:
        paths = [self.base / f"{name}.out", self.base / f"{name}.log"]
        return "\n".join(path.read_text(errors="replace")[-2000:] for path in paths if path.exists())

    def _stop_all(self) -> None:
        """Daemons in the reverse order of their start, with all that they have started."""
        for keepers in reversed(self._keepers.values()):
            for keeper in keepers:
                keeper.terminate()  # nothing happens to one that has ended and has been reaped
            for keeper in keepers:
                keeper.wait()
                keeper.stdout.close()
        for link in self._links:
            link.unlink(missing_ok=True)

    def _configure(self) -> None:
        """Write the configuration, the key and the devices."""
        self.conf.mkdir(parents=True, exist_ok=True)
        for folder in ("state", "spool", "db"):  # of an earlier cluster in this folder
            shutil.rmtree(self.base / folder, ignore_errors=True)
        for folder in ("state", "spool", "dev"):
            (self.base / folder).mkdir(exist_ok=True)
        key = self.base / "munge.key"
        if not key.exists():
            key.touch(mode=0o600)
            key.write_bytes(os.urandom(1024))
        self.socket.unlink(missing_ok=True)
        devices = [self.base / f"dev/nvidia{number}" for number in range(self.gpus)]
        for device in devices:
            if not device.exists():
                os.mknod(device, 0o20666, os.makedev(1, 3))  # a twin of /dev/null: SLURM wants a device
        gres = "".join(f"Name=gpu File={device}\n" for device in devices)
        (self.conf / "gres.conf").write_text(f"AutoDetect=off\n{gres}")
        self.ports = dict(zip(("slurmctld", "slurmd", "slurmdbd", "mariadbd"), free_ports(4), strict=True))
        (self.conf / "slurm.conf").write_text(
            slurm_conf(self.base, self.ports, self.gpus, self.cpus, self.memory_mb, self.accounting)
        )
        SYSTEM.mkdir(exist_ok=True)
        if not _private_mounts():
            for name in ("slurm.conf", "gres.conf"):
                (SYSTEM / name).unlink(missing_ok=True)
                (SYSTEM / name).symlink_to(self.conf / name)
                self._links.append(SYSTEM / name)

    def _start_accounting(self) -> None:
        """A database, SLURM's daemon before it, and an account for this user."""
        data, client = self.base / "db", self.base / "mysqld.sock"
        self.command("mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}",
                     "--auth-root-authentication-method=normal", "--skip-test-db")  # fmt: skip
        self._start("mariadbd", "--no-defaults", "--user=root", f"--datadir={data}", f"--socket={client}",
                    f"--port={self.ports['mariadbd']}", "--bind-address=127.0.0.1",
                    f"--pid-file={self.base}/mariadbd.pid", "--innodb-buffer-pool-size=32M")  # fmt: skip
        ping = ("mariadb-admin", "--no-defaults", "-S", client, "-u", "root", "ping")
        self._wait("mariadbd", lambda: self.command(*ping))
        grants = "".join(
            f"GRANT ALL ON slurm_acct_db.* TO slurm@'{host}' IDENTIFIED BY 'slurm';"
            for host in ("127.0.0.1", "localhost")
        )
        create = f"CREATE DATABASE IF NOT EXISTS slurm_acct_db; {grants}"
        self.command("mariadb", "--no-defaults", "-S", client, "-u", "root", "-e", create)
        database = self.conf / "slurmdbd.conf"
        database.touch(mode=0o600)  # slurmdbd refuses a readable one
        database.write_text(slurmdbd_conf(self.base, self.ports))
        self._start("slurmdbd", "-D", own_configuration=True)
        self._wait("slurmdbd", lambda: self.command("sacctmgr", "--noheader", "show", "cluster") is not None)
        for what in (["cluster", "test"], ["account", "default", "cluster=test"], ["user", "root", "account=default"]):
            self.command("sacctmgr", "--immediate", "add", *what)


@contextlib.contextmanager
def _alone_on_this_machine():
    """One cluster at a time: /etc/slurm has room for the configuration of one."""
    with Path(tempfile.gettempdir(), "ekd-slurm-machine.lock").open("w") as handle:
        end = time.monotonic() + QUEUE
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise RuntimeError(f"{handle.name}: another test cluster runs; wait for its end") from None
                time.sleep(1)
        yield
