"""Report in one line why this Python or this machine cannot run the workflow.

Runs before the environment exists, and under Pythons that are too old: standard library and old syntax only.
"""

import platform
import sys

PYTHONS = ((3, 11), (3, 12))
SYSTEM = "Linux"
MACHINES = ("x86_64", "amd64")


def unsupported(version: tuple, system: str, machine: str) -> str:
    """Why the workflow cannot run there, in one line; empty when it can.

    ``version`` is (major, minor, …) of the interpreter; ``system`` and ``machine`` are as ``platform`` returns them.
    """
    if system != SYSTEM or machine.lower() not in MACHINES:
        return (
            f"{system} on {machine} is not supported: fairseq and torch are locked as Linux x86-64 wheels; "
            "use such a machine, a container or WSL 2"
        )
    if tuple(version[:2]) not in PYTHONS:
        found = ".".join(str(number) for number in version[:2])
        names = " or ".join(f"{major}.{minor}" for major, minor in PYTHONS)
        return f"Python {found} is not supported: install Python {names}, or name one: make env PYTHON=/path/to/python"
    return ""


def main() -> int:
    """Print the reason, if any; return the exit status."""
    reason = unsupported(sys.version_info, platform.system(), platform.machine())
    if reason:
        print("error: " + reason, file=sys.stderr)
    return 2 if reason else 0


if __name__ == "__main__":
    sys.exit(main())
