"""The configuration of the test cluster: one node, two partitions, no cgroups, accounting if requested."""

import socket
from pathlib import Path


def munge_socket(base: Path) -> Path:
    """The socket of the cluster's own munged; the one in /run/munge is the machine's."""
    return base / "munge.socket"


def slurm_conf(base: Path, ports: dict[str, int], gpus: int, cpus: int, memory_mb: int, accounting: bool) -> str:
    """Text of slurm.conf; ``ports`` has the names of the daemons."""
    host = socket.gethostname().split(".")[0]
    storage = (
        f"""\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={ports["slurmdbd"]}
AccountingStoragePass={munge_socket(base)}
AccountingStoreFlags=job_comment
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=5"""
        if accounting
        else """\
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none"""
    )
    gres = f" Gres=gpu:{gpus}" if gpus else ""
    return f"""\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
# cred_expire is also the delay of a requeued job in seconds, 120 by default
AuthInfo=socket={munge_socket(base)},cred_expire=10
SlurmctldPort={ports["slurmctld"]}
SlurmdPort={ports["slurmd"]}
SlurmctldPidFile={base}/slurmctld.pid
SlurmdPidFile={base}/slurmd.pid
SlurmctldLogFile={base}/slurmctld.log
SlurmdLogFile={base}/slurmd.log
StateSaveLocation={base}/state
SlurmdSpoolDir={base}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=5,bf_interval=5
GresTypes=gpu
SlurmdParameters=config_overrides
# a lost node accepts jobs again as soon as it is back
ReturnToService=2
SlurmdTimeout=30
KillWait=10
# finished jobs are remembered for an hour
MinJobAge=3600
{storage}
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mb}{gres} State=UNKNOWN
PartitionName=cpu Nodes={host} Default=YES MaxTime=1-0 DefMemPerCPU=200 State=UP
PartitionName=gpu Nodes={host} Default=NO MaxTime=1-0 DefMemPerCPU=200 State=UP
"""


def slurmdbd_conf(base: Path, ports: dict[str, int]) -> str:
    """Text of slurmdbd.conf."""
    # StorageHost=localhost would mean MySQL's default socket
    return f"""\
AuthInfo=socket={munge_socket(base)}
DbdHost=localhost
DbdPort={ports["slurmdbd"]}
SlurmUser=root
LogFile={base}/slurmdbd.log
PidFile={base}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={ports["mariadbd"]}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
"""


def free_ports(number: int) -> list[int]:
    """Ports that are free at this moment."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports
