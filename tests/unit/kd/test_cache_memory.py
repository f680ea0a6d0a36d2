"""A training's memory does not grow with the cache it reads."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.lib import format as npy

SCRIPTS = Path(__file__).parents[3] / "workflow_scripts"
POSITIONS_A_SENTENCE = 25
K = 32
READER = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from pathlib import Path
from kd.cache import CachedSplit, record_type

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024

folder, sentences = Path(sys.argv[2]), int(sys.argv[3])
before = peak()
split = CachedSplit([folder / "train.00000.npy"], folder / "train.starts.npy", [25 * sentences], record_type(32, 6000))
order = np.random.default_rng(1).permutation(sentences)
for batch in np.array_split(order, sentences // 160):
    records, lengths = split.read(batch)
    assert len(records) == lengths.sum() == 25 * len(batch)
    if batch[0] % 50 == 0:
        assert (records["tail"][::25].view(np.uint16) == 0).all()
print(peak() - before)
"""


def write_split(folder: Path, sentences: int) -> int:
    """A split whose records are all zero, as a file with a hole; returns its size."""
    from kd.cache import record_type, shard_file, starts_file

    folder.mkdir()
    np.save(folder / starts_file("train"), np.arange(sentences + 1) * POSITIONS_A_SENTENCE)
    record, rows = record_type(K, 6000), sentences * POSITIONS_A_SENTENCE
    with (folder / shard_file("train", 0)).open("wb") as handle:
        npy.write_array_header_1_0(
            handle, {"descr": npy.dtype_to_descr(record), "fortran_order": False, "shape": (rows,)}
        )
        size = handle.tell() + rows * record.itemsize
        handle.truncate(size)
    return size


def growth(folder: Path, sentences: int) -> float:
    """MB that a process's peak memory grows by, reading every sentence once in random order."""
    call = [sys.executable, "-c", READER, str(SCRIPTS), str(folder), str(sentences)]
    return float(subprocess.run(call, check=True, capture_output=True, text=True).stdout)


@pytest.mark.slow
def test_reading_a_whole_cache_keeps_little_of_it_in_memory(tmp_path):
    size = write_split(tmp_path / "large", 160_000) / 2**20
    assert size > 450
    grown = growth(tmp_path / "large", 160_000)
    assert grown < 100, f"reading {size:.0f} MB took {grown:.0f} MB"
