"""Tiny fairseq models over tiny dictionaries, for the tests of the distillation plugin."""

from argparse import Namespace

import torch
from omegaconf import OmegaConf

from kd.criterion import LabelSmoothedKDCriterionConfig
from kd.fairseq_api import (
    Dictionary,
    LabelSmoothedCrossEntropyCriterionConfig,
    TranslationConfig,
    TranslationTask,
    build_model,
)


def make_dictionary(prefix: str, words: int) -> Dictionary:
    dictionary = Dictionary()
    for number in range(words):
        dictionary.add_symbol(f"{prefix}{number}")
    return dictionary


def make_task(source_words: int = 9, target_words: int = 13, prefix: str = "w") -> TranslationTask:
    source, target = make_dictionary(prefix, source_words), make_dictionary(prefix, target_words)
    return TranslationTask(TranslationConfig(source_lang="de", target_lang="en"), source, target)


def model_options(dim: int = 8, dropout: float = 0.0) -> Namespace:
    sides = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in {"layers": 2, "embed_dim": dim, "ffn_embed_dim": 16, "attention_heads": 2}.items()
    }
    return Namespace(**sides, arch="transformer_iwslt_de_en", dropout=dropout, share_decoder_input_output_embed=True)


def make_model(task: TranslationTask, dim: int = 8, dropout: float = 0.0, seed: int = 1) -> torch.nn.Module:
    torch.manual_seed(seed)
    model = build_model(model_options(dim, dropout), task)
    for parameter in model.parameters():
        # fairseq's initialisation gives almost uniform distributions, and zero biases, which hide errors
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def save_checkpoint(path, model, options: Namespace, dictionaries: dict | None) -> None:
    """Write a checkpoint as fairseq's trainer does for an old-style architecture, without the optimizer."""
    extra_state = {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}}
    if dictionaries is not None:
        extra_state["dictionaries"] = dictionaries
    history = {"criterion_name": "x", "optimizer_name": "x", "lr_scheduler_state": {}, "num_updates": 3}
    state = {
        "args": None,
        "cfg": {"model": options, "_name": None},
        "model": model.state_dict(),
        "optimizer_history": [history],
        "extra_state": extra_state,
    }
    torch.save(state, path)


def make_sample(task: TranslationTask) -> dict:
    """Three sentence pairs of different lengths, padded as fairseq's collater does: source left, target right."""
    pad, eos = task.target_dictionary.pad(), task.target_dictionary.eos()
    targets = [[5, 9, 16, 4, eos], [7, 4, eos], [12, eos]]
    sources = [[4, 8, eos], [5, 6, 7, 10, eos], [11, eos]]
    target = torch.tensor([t + [pad] * (5 - len(t)) for t in targets])
    previous = torch.tensor([[eos] + t[:-1] + [pad] * (5 - len(t)) for t in targets])
    source = torch.tensor([[pad] * (5 - len(s)) + s for s in sources])
    lengths = torch.tensor([len(s) for s in sources])
    return {
        "id": torch.arange(3),
        "nsentences": 3,
        "ntokens": sum(map(len, targets)),
        "net_input": {"src_tokens": source, "src_lengths": lengths, "prev_output_tokens": previous},
        "target": target,
    }


def make_criterion(task: TranslationTask, name: str, **options):
    """Build a criterion as fairseq does, from its dataclass."""
    of_kd = name == "label_smoothed_kd"
    kind = LabelSmoothedKDCriterionConfig if of_kd else LabelSmoothedCrossEntropyCriterionConfig
    config = OmegaConf.structured(kind(_name=name, label_smoothing=0.1, sentence_avg=False))
    return task.build_criterion(OmegaConf.merge(config, options))


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same_gradients(left, right, tolerance=1e-5):
    assert left.keys() == right.keys()
    scale = max(g.abs().max().item() for g in right.values())
    assert scale > 0.01, "the gradients to compare are all zero"
    for name in left:
        torch.testing.assert_close(left[name], right[name], rtol=tolerance, atol=tolerance * scale, msg=name)
