"""torchrun for ranks that the leader stops: stop signals have no effect on torchrun itself.

It would kill the ranks seconds after a signal, and a cluster sends a signal to all processes of a job. The caller makes
torchrun ignore these signals until this script has set its handlers. Ignoring them for longer would be wrong: the ranks
would inherit it, and torchrun could not end one that is still starting when another has failed. Handlers are not
inherited.
"""

from __future__ import annotations

import signal
import sys

IGNORED = ("TERM", "INT", "HUP", "QUIT", "USR1")
_HANDLED = "SIGUSR2"  # torchrun needs one; nobody sends it


def main() -> None:
    """Start the ranks of a node, with torchrun's command line, and wait for them."""
    for name in IGNORED:
        number = signal.Signals[f"SIG{name}"]
        signal.signal(number, lambda number, frame: None)
        signal.siginterrupt(number, False)
    from torch.distributed.run import main as torchrun  # takes a second

    torchrun(["--signals-to-handle", _HANDLED, *sys.argv[1:]])


if __name__ == "__main__":
    main()
