"""Estimates of the memory and time that each step needs, for ``resource_requests.py``.

They follow from sizes that are known before a step runs: of the models, the batches and the corpus.
``benchmarks/memory.py`` compares the memory with measurements; docs/benchmarks.md has the table, and the measurements
behind the constants. Memory is in MB (10**6 bytes).

Times are rough and several times those of the benchmarks: a job that ends early costs nothing, and one that reaches its
time limit resumes in its next attempt.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ekd_nmt.cluster.rule_table import RULES

if TYPE_CHECKING:
    from ekd_nmt.cluster.corpus_size import CorpusSize
    from ekd_nmt.config.models import Decoding, Model

# Memory
IMPORTS = 550  # a process that has imported torch and fairseq, and read a small corpus
CUDA = 3000  # more host memory of a process that uses a GPU; not measured, the most that a CUDA build of torch takes
CACHED = 60  # pages of a teacher's cache that are mapped at a time
FRAGMENTED = 2.0  # the process keeps freed memory, and cannot reuse all of it
A_PAIR = 200  # bytes of a training for the length and position of each sentence pair
SHORT = 8  # tokens of a sentence in the batch with the most sentences

# Time
CPU_FLOPS, GPU_FLOPS = 1.5e10, 5e12  # per second, of one thread, and of a GPU in fp32
CPU_UPDATE, GPU_UPDATE = 0.05, 0.2  # seconds of overhead of an update
GPU_STEP = 0.04  # seconds of a beam search for one token of all hypotheses, 12 layers

_A_TYPE = 3000  # bytes of learn_bpe for each distinct word
BYTES_A_SECOND = 1e6  # of a download


def layer_parameters(model: Model) -> int:
    """Parameters of all layers of a Transformer with biases and, per layer, two (encoder) or three (decoder) norms."""
    dim, inner = model.embed_dim, model.ffn_dim
    attention, feed_forward, norm = 4 * dim * (dim + 1), 2 * dim * inner + inner + dim, 2 * dim
    return model.layers * (3 * attention + 2 * feed_forward + 5 * norm)


def parameters(model: Model, corpus: CorpusSize) -> int:
    """Parameters of a model whose decoder shares its input and output embeddings."""
    return (corpus.source_symbols + corpus.target_symbols) * model.embed_dim + layer_parameters(model)


def saved_floats(model: Model, longest: int) -> float:
    """Floats saved for the backward pass, per position; a source and a target token together are one position.

    Counted by torch's hooks for saved tensors, with dropout: 7 embed_dim for the embeddings, and for a layer of encoder
    and decoder 27.3 embed_dim, 2 ffn_dim, and one float per head for each key of an attention (longest x longest).
    """
    layer = 27.3 * model.embed_dim + 2 * model.ffn_dim + model.heads * longest
    return 7 * model.embed_dim + model.layers * layer


def training_memory(
    options: Mapping[str, Any], model: Model, teacher: Model | None, corpus: CorpusSize, gpu: bool
) -> int:
    """Host memory of one process of a training, in MB.

    Weights, gradients and Adam's two moments are 16 bytes a parameter; a checkpoint that is read besides, as for
    model.pt at the end, 12 more. On the CPU come: the saved tensors of a batch, its logits and their gradient, the beam
    search of the validation, and an online teacher with its logits and log-probabilities. On a GPU these are in its own
    memory, and the host has a copy of what is saved.

    ``options`` is from :meth:`Experiment.options`; ``teacher`` is the model of the teacher, cached or online.
    """
    training = options["training"]
    size = IMPORTS * 1e6 + 28 * parameters(model, corpus) + A_PAIR * corpus.train + _mapped(corpus)
    online = teacher is not None and options["distillation"]["teacher_mode"] == "online"
    if teacher is not None:
        size += 8 * parameters(teacher, corpus) if online else CACHED * 1e6
    if gpu:
        return round(size / 1e6) + CUDA
    positions = training["max_tokens"]
    logits = 4 * positions * corpus.target_symbols
    batch = 4 * positions * saved_floats(model, min(corpus.longest, positions)) + (4 if online else 2) * logits
    validation = training["validation"]
    search = 0.0
    if validation["metric"] == "bleu":
        search = _beam_search(model, corpus, corpus.valid, validation["beam"], positions, training["max_sentences"])
    return round((size + max(FRAGMENTED * batch, search)) / 1e6)


def caching_memory(teacher: Model, corpus: CorpusSize, max_tokens: int, full: bool, gpu: bool) -> int:
    """Host memory of caching a teacher, in MB: its weights (twice while they are read) and, for a batch, logits,
    log-probabilities and the stored values (``full``: the whole distribution).
    """
    size = IMPORTS * 1e6 + 8 * parameters(teacher, corpus) + A_PAIR * corpus.train + _mapped(corpus)
    logits = 4 * max_tokens * corpus.target_symbols
    if gpu:
        return round((size + (2 * logits if full else 0)) / 1e6) + CUDA
    return round((size + FRAGMENTED * (4 if full else 2) * logits) / 1e6)


def translating_memory(model: Model, corpus: CorpusSize, decoding: Decoding, gpu: bool) -> int:
    """Host memory of translating the test set, in MB: the weights (twice while they are read) and the beam search."""
    size = IMPORTS * 1e6 + 8 * parameters(model, corpus)
    if gpu:
        return round(size / 1e6) + CUDA
    return round((size + _beam_search(model, corpus, corpus.test, decoding.beam, decoding.max_tokens)) / 1e6)


def _beam_search(
    model: Model, corpus: CorpusSize, sentences: int, beam: int, max_tokens: int, max_sentences: int | None = None
) -> float:
    """Bytes of a beam search on the CPU: keys and values of hypotheses and sources, copied as they grow, and scores of
    the vocabulary. Hypotheses of a trained model are at most twice as long as their sources.
    """
    tokens = min(max_tokens, 2 * sentences * corpus.tokens)
    keys_and_values = 3 * tokens * beam * model.layers * model.embed_dim * 8
    hypotheses = beam * min(max_tokens / SHORT, sentences, max_sentences or math.inf)
    return 2 * keys_and_values + 4 * hypotheses * corpus.target_symbols * 4


def _mapped(corpus: CorpusSize) -> float:
    """Bytes of the binarised training set, which is mapped into memory."""
    return 2 * corpus.train * corpus.tokens * (2 if max(corpus.source_symbols, corpus.target_symbols) < 65_500 else 4)


def data_memory(rule: str, corpus: CorpusSize, learned_from: int, workers: int) -> int:
    """Memory of a data step, a score or a table, in MB. BPE is learned from ``learned_from`` training pairs."""
    needs = RULES[rule]
    size = needs.memory * 1e6 + needs.per_pair * corpus.train + needs.per_held_out_pair * (corpus.valid + corpus.test)
    if rule == "learn_bpe":  # each worker has counts of its own
        size += (_A_TYPE + 200 * workers) * word_types(2 * learned_from * corpus.tokens)
    elif rule == "binarize" and workers > 1:  # one for each side, and the one that waits for them
        size += 2 * needs.memory * 1e6
    return round(size / 1e6)


def word_types(tokens: float) -> float:
    """Distinct words in a text by Heaps' law, with constants of German, which has many."""
    return min(tokens, 8 * tokens**0.67)


def schedule(options: Mapping[str, Any], corpus: CorpusSize) -> tuple[float, float]:
    """Approximate updates and epochs of a training; batches are filled to four fifths."""
    training = options["training"]
    full = corpus.train * corpus.tokens / (0.8 * training["max_tokens"])
    an_epoch = math.ceil(max(full, corpus.train / training["max_sentences"]) / training["update_freq"])
    updates = min(an_epoch * training["max_epoch"], training["max_update"] or math.inf)
    return updates, updates / an_epoch


def training_minutes(
    options: Mapping[str, Any], model: Model, teacher: Model | None, corpus: CorpusSize, gpu: bool
) -> float:
    """Minutes of a training with all its validations."""
    training, validation = options["training"], options["training"]["validation"]
    ranks = training["gpus"] * training["nodes"]
    updates, epochs = schedule(options, corpus)
    positions = (
        updates * training["update_freq"] * min(0.8 * training["max_tokens"], training["max_sentences"] * corpus.tokens)
    )
    work = 6 * _touched(model, corpus)
    if teacher is not None and options["distillation"]["teacher_mode"] == "online":
        work += 2 * _touched(teacher, corpus)
    seconds = (
        updates * (GPU_UPDATE if gpu else CPU_UPDATE) + positions * work / (GPU_FLOPS if gpu else CPU_FLOPS) / ranks
    )
    validations = math.ceil(epochs / validation["interval"])
    beam = validation["beam"] if validation["metric"] == "bleu" else 0
    return (
        seconds + validations * _search_seconds(model, corpus, corpus.valid, beam, training["max_tokens"], gpu)
    ) / 60


def caching_minutes(teacher: Model, corpus: CorpusSize, max_tokens: int, gpu: bool) -> float:
    """Minutes of caching a teacher."""
    positions = (corpus.train + corpus.valid) * corpus.tokens
    work = 2 * _touched(teacher, corpus) / (GPU_FLOPS if gpu else CPU_FLOPS)
    # the CPU selects and packs the k tokens
    return (positions * (work + 1e-4) + positions / max_tokens * (GPU_UPDATE if gpu else CPU_UPDATE)) / 60


def translating_minutes(model: Model, corpus: CorpusSize, decoding: Decoding, gpu: bool) -> float:
    """Minutes of translating the test set."""
    return _search_seconds(model, corpus, corpus.test, decoding.beam, decoding.max_tokens, gpu) / 60


def _search_seconds(model: Model, corpus: CorpusSize, sentences: int, beam: int, max_tokens: int, gpu: bool) -> float:
    """Seconds of a beam search with hypotheses up to twice as long as their sources; beam 0 only computes a loss."""
    positions = sentences * corpus.tokens
    work = 2 * _touched(model, corpus) * positions * (1 + 2 * beam)
    if not gpu:
        return work / CPU_FLOPS
    batches = 1 + positions / (0.8 * max_tokens)
    steps = 2 * corpus.tokens * (model.layers / 6) if beam else 1
    return work / GPU_FLOPS + batches * steps * GPU_STEP


def _touched(model: Model, corpus: CorpusSize) -> int:
    """Parameters that each position is multiplied with."""
    return layer_parameters(model) + corpus.target_symbols * model.embed_dim


def data_minutes(rule: str, corpus: CorpusSize, learned_from: int, merges: int, shards: int) -> float:
    """Minutes of a data step on one of the shards of the training set."""
    needs = RULES[rule]
    if not needs.pairs_per_second:
        return 0
    if rule == "learn_bpe":
        return (learned_from / needs.pairs_per_second + merges / 50) / 60
    pairs = corpus.train / (shards if needs.sharded else 1) + corpus.valid + corpus.test
    return pairs / needs.pairs_per_second / 60
