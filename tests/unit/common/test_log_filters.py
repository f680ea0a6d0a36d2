"""quiet(): other packages' chatter goes, what a user has to know stays."""

import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).parents[3] / "workflow_scripts"
PROGRAM = """
import logging, warnings
from ekd_nmt.common.log_filters import quiet
quiet()
def warn(message, category, module):
    warnings.warn_explicit(message, category, f"{module}.py", 1, module=module)
warn("no GPU: driver too old", UserWarning, "torch.cuda")
warn("ours", DeprecationWarning, "__main__")
warn("soon gone", FutureWarning, "torch.amp")
warn("soon gone", DeprecationWarning, "fairseq.tasks")
warn("soon gone", UserWarning, "hydra.core")
logging.getLogger("fairseq.tasks.text_to_speech").info("install this")
logging.getLogger("fairseq.trainer").error("out of memory")
"""


def test_what_stays_and_what_goes():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=SCRIPTS, capture_output=True, text=True, check=True, timeout=60
    )
    assert "no GPU: driver too old" in done.stderr
    assert "ours" in done.stderr
    assert "ERROR fairseq.trainer: out of memory" in done.stderr
    assert "soon gone" not in done.stderr
    assert "install this" not in done.stderr
