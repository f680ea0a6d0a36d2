"""torchrun, for ranks that are told by another process when to stop: what asks it to stop has no effect on it.

It would kill the ranks seconds after a signal, and a cluster sends one to all processes of a job. Its caller has to
have it ignore these signals until this script has begun. Ignoring them for longer would not do: the ranks would inherit
that, and one that is still starting up would miss that torchrun ends it because another has failed. Handlers are not
inherited.
"""

from __future__ import annotations

import signal
import sys

UNHEEDED = ("TERM", "INT", "HUP", "QUIT", "USR1")
_HEEDED = "SIGUSR2"  # torchrun wants one; nobody sends it


def main() -> None:
    """Start the ranks of a node, as the command line of torchrun says, and wait for them."""
    for name in UNHEEDED:
        number = signal.Signals[f"SIG{name}"]
        signal.signal(number, lambda number, frame: None)
        signal.siginterrupt(number, False)
    from torch.distributed.run import main as torchrun  # takes a second

    torchrun(["--signals-to-handle", _HEEDED, *sys.argv[1:]])


if __name__ == "__main__":
    main()
