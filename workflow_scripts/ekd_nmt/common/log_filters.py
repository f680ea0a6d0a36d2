"""Keep other packages' chatter out of the logs a user reads; what is wrong still shows, as an error or a warning.

Beside the plugin ``kd`` and not in it, because it must be called before fairseq is imported, which ``kd`` does: some of
the chatter comes with the import.
"""

from __future__ import annotations

import logging
import sys
import warnings

# hydra and fairseq note, at every start, that calls of their own will change one day: nothing a user, or we, can act on
_CHATTY_MODULES = r"(hydra|fairseq|fairseq_cli)\b"
_CHATTY_MESSAGES = (
    r"(?s).*is validated against ConfigStore schema with the same name",  # hydra, but it blames its caller's module
    r".*'pin_memory' argument is set as true but no accelerator is found",
    r".*Support for mismatched key_padding_mask and attn_mask is deprecated",
    r".*enable_nested_tensor is True, but",
)
# torch's plans for its own interfaces; not its other warnings: that a GPU cannot be used is for the user to know
_CHANGES_TO_COME = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)


def quiet() -> None:
    """Send errors and warnings of all packages to standard error, and drop the notes named above."""
    # fairseq configures the root logger when it is imported, unless someone did before
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    # at INFO fairseq reports its own internals, and asks every user to install what text training never uses
    for name in ("fairseq", "fairseq_cli", "hydra"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module=_CHATTY_MODULES)
    for category in _CHANGES_TO_COME:
        warnings.filterwarnings("ignore", category=category, module=r"torch\b")
    for message in _CHATTY_MESSAGES:
        warnings.filterwarnings("ignore", message=message)
