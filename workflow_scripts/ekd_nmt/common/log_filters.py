"""Keep other packages' internal messages out of the logs. Their errors and warnings to the user stay.

This module is not part of the plugin ``kd``, which imports fairseq: the filters must be set before that import.
"""

from __future__ import annotations

import logging
import sys
import warnings

# warnings that users cannot act on: about the packages' own code, at every start
_MODULES = r"(hydra|fairseq|fairseq_cli)\b"
_MESSAGES = (
    r"(?s).*is validated against ConfigStore schema with the same name",  # hydra, in the name of its caller's module
    r".*'pin_memory' argument is set as true but no accelerator is found",
    r".*Support for mismatched key_padding_mask and attn_mask is deprecated",
    r".*enable_nested_tensor is True, but",
)
# of torch only these: that a GPU cannot be used is for the user to know
_DEPRECATIONS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)


def quiet() -> None:
    """Send errors and warnings of all packages to standard error, and drop those listed above."""
    # fairseq configures the root logger when it is imported, unless it is configured already
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    # at INFO fairseq logs its internals, and asks users to install what text training never uses
    for name in ("fairseq", "fairseq_cli", "hydra"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module=_MODULES)
    for category in _DEPRECATIONS:
        warnings.filterwarnings("ignore", category=category, module=r"torch\b")
    for message in _MESSAGES:
        warnings.filterwarnings("ignore", message=message)
