"""Vocabulary logits of chosen target positions only.

The projection to the vocabulary and the softmax take most of a small model's step. Padded positions never enter the
loss, so they are dropped before the projection.
"""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

from ekd_nmt.common.errors import UserError


def decoder_features(model: nn.Module, net_input: dict[str, Any], rows: Tensor) -> Tensor:
    """Run the model up to the input of :func:`project`, and keep the chosen positions.

    Args:
        model: a fairseq encoder-decoder, possibly wrapped for distributed training; it is called as a whole, so that
            the wrapper's hooks run.
        net_input: fairseq's ``sample["net_input"]``, B sentences of T target positions.
        rows: int64 ``(N)``, indices into the B·T flattened target positions.

    Returns:
        ``(N, C)``: the decoder's features, or logits of a decoder that cannot stop before its projection.

    Raises:
        UserError: the model has an adaptive softmax, whose output is no distribution over the whole vocabulary.
    """
    if getattr(model.decoder, "adaptive_softmax", None) is not None:
        raise UserError("label_smoothed_kd needs a full softmax; remove --adaptive-softmax-cutoff from the model")
    options = {"features_only": True} if _stops_before_projection(model) else {}
    output = model(**net_input, **options)[0]
    return output.flatten(0, 1).index_select(0, rows)


def project(model: Any, features: Tensor) -> Tensor:
    """Logits ``(N, V)`` from the result of :func:`decoder_features`."""
    return model.decoder.output_layer(features) if _stops_before_projection(model) else features


def _stops_before_projection(model: Any) -> bool:
    decoder = model.decoder
    return hasattr(decoder, "output_layer") and "features_only" in inspect.signature(decoder.forward).parameters
