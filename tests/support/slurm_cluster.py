"""A one-node SLURM cluster with fake GPUs, for tests.

It needs root, mount namespaces and SLURM's programs, but no systemd, cgroups or GPU. Resource requests are not
enforced: jobs see all processors and memory of the machine, and a GPU is a device node without function.

SLURM's commands find the cluster through ``$SLURM_CONF``. Snakemake's executor removes that variable inside jobs, so
the daemons and their jobs see the configuration in /etc/slurm as well, in a mount namespace of their own. Several
clusters can run at once.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from slurm_configuration import free_ports, munge_socket, slurm_conf, slurmdbd_conf

SYSTEM = Path("/etc/slurm")
KEEPER = Path(__file__).with_name("keeper.py")
COMMANDS = ("munged", "slurmctld", "slurmd", "scontrol", "squeue", "sinfo", "sbatch", "srun", "scancel")
ACCOUNTING = ("slurmdbd", "sacct", "sacctmgr", "mariadbd", "mariadb-install-db", "mariadb", "mariadb-admin")
START = 60  # seconds for a daemon to come up
PATHS = "/usr/sbin:/sbin:/usr/bin:/bin"  # daemons are often not on PATH


def missing(accounting: bool = True) -> str | None:
    """Why no cluster can be started here, or None."""
    if os.geteuid() != 0:
        return "a SLURM cluster can only be started by root"
    names = [*COMMANDS, *(ACCOUNTING if accounting else ())]
    absent = [name for name in names if shutil.which(name, path=PATHS) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (Debian: slurm-wlm munge slurmdbd mariadb-server)"
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        return "mount namespaces are not permitted"
    return None


class Cluster:
    """A running cluster, as a context manager.

    Args:
        base: folder for configuration, state and logs; created if missing. Its path must be short, because a socket's
            path has at most 107 characters.
        gpus: fake GPUs of the node.
        cpus: processors of the node, as SLURM sees it.
        memory_mb: memory of the node, as SLURM sees it.
        accounting: with accounting, which ``sacct`` needs.

    ``environment`` has the variables with which commands, and Snakemake, find the cluster.
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

    def __enter__(self) -> "Cluster":
        if reason := missing(self.accounting):
            raise RuntimeError(reason)
        if len(str(self.socket)) > 107:
            raise ValueError(f"{self.socket}: too long for a socket (107 characters); choose a shorter folder")
        with contextlib.ExitStack() as stack:
            stack.callback(self._stop_all)
            self._configure()
            # --force: a temporary folder may be readable by its owner only
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
        """Standard output of a SLURM command.

        Raises:
            RuntimeError: it failed, with its error message.
        """
        done = subprocess.run(
            [*map(str, words)], env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, words))}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def jobs(self) -> list[dict]:
        """All jobs, also finished ones, in the order of submission.

        Each has ``id``, ``comment``, ``state``, ``partition``, ``gpus`` and ``restarts`` (numbers), ``workdir``,
        ``time_limit``, and in ``all`` every field of ``scontrol show job``.
        """
        found = []
        for line in self.command("scontrol", "--oneliner", "show", "job").splitlines():
            fields = dict(re.findall(r"(?:^|\s)(\w[\w/:]*)=(.*?)(?=\s+\w[\w/:]*=|\s*$)", line))
            if "JobId" not in fields:  # "No jobs in the system"
                continue
            tres = fields.get("TresPerJob", fields.get("TresPerNode", ""))
            gpus = re.search(r"gpu(?:[:/]\w*[a-z]\w*)?[:=](\d+)", tres)
            found.append(
                {
                    "id": fields["JobId"],
                    "comment": fields.get("Comment", ""),
                    "state": fields["JobState"],
                    "partition": fields["Partition"],
                    "gpus": int(gpus[1]) if gpus else 0,
                    "workdir": fields["WorkDir"],
                    "restarts": int(fields["Restarts"]),
                    "time_limit": fields["TimeLimit"],
                    "all": fields,
                }
            )
        return sorted(found, key=lambda job: int(job["id"]))

    def start_slurmctld(self) -> None:
        """Start the controller and wait until it responds."""
        self._start("slurmctld", "-D", own_configuration=True)
        self._wait("slurmctld", lambda: "UP" in self.command("scontrol", "ping"))

    def kill_slurmctld(self) -> None:
        """SIGKILL the controller. Jobs keep running."""
        self._kill("slurmctld")

    def start_slurmd(self) -> None:
        """Start the node's daemon and wait until the node accepts jobs, or is drained because of earlier jobs."""
        self._start("slurmd", "-D", own_configuration=True)
        usable = {"idle", "mixed", "allocated", "completing", "draining", "drained"}
        self._wait("slurmd", lambda: set(self.command("sinfo", "--noheader", "--format=%T").split()) <= usable)

    def kill_slurmd(self) -> None:
        """SIGKILL the node's daemon, as if the node were lost. Its jobs keep running, unseen by the controller."""
        self._kill("slurmd")

    def _start(self, name: str, *arguments: str, own_configuration: bool = False) -> None:
        """Start a daemon in the foreground under keeper.py."""
        command = [sys.executable, "-I", "-S", str(KEEPER), shutil.which(name, path=PATHS) or name, *arguments]
        if own_configuration:
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
        """Wait until a daemon is up."""
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
        """Stop the daemons in reverse order, with all their descendants."""
        for keepers in reversed(self._keepers.values()):
            for keeper in keepers:
                keeper.terminate()
            for keeper in keepers:
                keeper.wait()
                keeper.stdout.close()

    def _configure(self) -> None:
        """Write the configuration, the key and the devices."""
        self.conf.mkdir(parents=True, exist_ok=True)
        for folder in ("state", "spool", "db"):  # of an earlier cluster
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
                os.mknod(device, 0o20666, os.makedev(1, 3))  # like /dev/null: SLURM requires a device
        gres = "".join(f"Name=gpu File={device}\n" for device in devices)
        (self.conf / "gres.conf").write_text(f"AutoDetect=off\n{gres}")
        self.ports = dict(zip(("slurmctld", "slurmd", "slurmdbd", "mariadbd"), free_ports(4), strict=True))
        (self.conf / "slurm.conf").write_text(
            slurm_conf(self.base, self.ports, self.gpus, self.cpus, self.memory_mb, self.accounting)
        )
        SYSTEM.mkdir(exist_ok=True)

    def _start_accounting(self) -> None:
        """Start the database and slurmdbd, and create an account for this user."""
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
        database.touch(mode=0o600)  # slurmdbd refuses a file that others can read
        database.write_text(slurmdbd_conf(self.base, self.ports))
        self._start("slurmdbd", "-D", own_configuration=True)
        self._wait("slurmdbd", lambda: self.command("sacctmgr", "--noheader", "show", "cluster") is not None)
        for what in (["cluster", "test"], ["account", "default", "cluster=test"], ["user", "root", "account=default"]):
            self.command("sacctmgr", "--immediate", "add", *what)
