"""What each step of an experiment needs of memory and time; ``demand.py`` turns it into what the rules ask for.

All are estimates from sizes that are known before a step runs: the models, the batches, and the corpus, which counts as
published until it is binarised. ``benchmarks/memory.py`` compares the memory with what steps really take;
docs/benchmarks.md has the table, and the measurements behind the constants. Memory is in MB (10**6 bytes).

Times are rough and several times those of the benchmarks: a job that ends early costs nothing, and one that its time
limit stops goes on in its next attempt, where it was.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ekd_nmt.cluster.corpus_size import CorpusSize
    from ekd_nmt.config.models import Decoding, Model

# Memory
IMPORTS = 550  # a process that has imported torch and fairseq, and read a small corpus
CUDA = 3000  # host memory of a process that uses a GPU besides; not measured, a CUDA build of torch takes up to that
CACHED = 60  # pages of a teacher's cache that are mapped at a time
FRAGMENTED = 2.0  # freed memory is kept in the process, and not all of it fits what is asked for next
A_PAIR = 200  # bytes a training takes for the length and the place of each sentence pair
SHORT = 8  # tokens of the sentences in the batch with the most of them

# Time
CPU_FLOPS, GPU_FLOPS = 1.5e10, 5e12  # a second, of one thread, and of a GPU in fp32
CPU_UPDATE, GPU_UPDATE = 0.05, 0.2  # seconds of an update besides
GPU_STEP = 0.04  # seconds of a beam search for one token of all hypotheses, 12 layers

# the data steps: memory; bytes a training pair; pairs a second
_STEPS = {
    "generate": (80, 4000, 2000),
    "unpack_iwslt14": (200, 2000, 2000),
    "collect": (200, 0, 5000),
    "split": (200, 120, 5000),
    "cut_train": (50, 0, 100_000),
    "prepare": (200, 0, 1000),
    "prepare_shard": (200, 0, 1000),
    "join_train": (150, 1, 5000),
    "learn_bpe": (100, 0, 5000),
    "apply_bpe": (100, 0, 5000),
    "apply_bpe_shard": (100, 0, 5000),
    "join_bpe": (100, 0, 20_000),
    "binarize": (500, 20, 5000),
    "data_report": (300, 0, 3000),
    "fetch": (200, 0, 0),
    "score": (300, 0, 0),
    "bleu_table": (250, 0, 0),
    "cost_table": (250, 0, 0),
}
_A_TYPE = 3000  # bytes that the learning of BPE takes for each different word
BYTES_A_SECOND = 1e6  # of a download


def layer_parameters(model: Model) -> int:
    """Parameters of all layers of a Transformer with biases and two or three layer norms a layer."""
    dim, inner = model.embed_dim, model.ffn_dim
    attention, feed_forward, norm = 4 * dim * (dim + 1), 2 * dim * inner + inner + dim, 2 * dim
    return model.layers * (3 * attention + 2 * feed_forward + 5 * norm)


def parameters(model: Model, corpus: CorpusSize) -> int:
    """Parameters of a model; the decoder's input and output embeddings are one."""
    return (corpus.source_symbols + corpus.target_symbols) * model.embed_dim + layer_parameters(model)


def saved_floats(model: Model, longest: int) -> float:
    """Numbers that the forward pass keeps for the backward one, a position, source and target counted as one.

    Counted by torch's hooks for saved tensors, with dropout: for the embeddings 7 embed_dim, for a layer of encoder and
    decoder 27.3 embed_dim, 2 ffn_dim, and of an attention that is longest x longest one number for each head.
    """
    layer = 27.3 * model.embed_dim + 2 * model.ffn_dim + model.heads * longest
    return 7 * model.embed_dim + model.layers * layer


def training_memory(
    options: Mapping[str, Any], model: Model, teacher: Model | None, corpus: CorpusSize, gpu: bool
) -> int:
    """Host memory of one process of a training, in MB.

    Weights, gradients and Adam's two moments are 16 bytes a parameter; a checkpoint that is read beside them, as for
    model.pt at the end, 12 more. On the CPU there are besides: what a batch keeps for the backward pass; its logits and
    their gradient; the validation's beam search; a teacher that runs along, with its logits and log-probabilities. On a
    GPU these are in its own memory, and the host has a copy of what is saved.

    Args:
        options: resolved options of the system, as :meth:`experiment.Experiment.options` gives them.
        model, teacher: of the system and its teacher, which is read from its cache or runs along.
        corpus: its sizes.
        gpu: whether the training runs on GPUs.
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
    """Host memory of the caching of a teacher, in MB: its weights, twice while they are read, and of a batch the
    logits, their log-probabilities and what is chosen from them.

    Args:
        teacher: its model.
        corpus: its sizes.
        max_tokens: of a batch.
        full: whether all of the distribution is stored.
        gpu: whether the teacher runs on a GPU.
    """
    size = IMPORTS * 1e6 + 8 * parameters(teacher, corpus) + A_PAIR * corpus.train + _mapped(corpus)
    logits = 4 * max_tokens * corpus.target_symbols
    if gpu:
        return round((size + (2 * logits if full else 0)) / 1e6) + CUDA
    return round((size + FRAGMENTED * (4 if full else 2) * logits) / 1e6)


def translating_memory(model: Model, corpus: CorpusSize, decoding: Decoding, gpu: bool) -> int:
    """Host memory of the translation of the test set, in MB: the weights, twice while they are read, and the search.

    Args:
        model: that translates.
        corpus: its sizes.
        decoding: options of the search.
        gpu: whether it runs on a GPU.
    """
    size = IMPORTS * 1e6 + 8 * parameters(model, corpus)
    if gpu:
        return round(size / 1e6) + CUDA
    return round((size + _beam_search(model, corpus, corpus.test, decoding.beam, decoding.max_tokens)) / 1e6)


def _beam_search(
    model: Model, corpus: CorpusSize, sentences: int, beam: int, max_tokens: int, max_sentences: int | None = None
) -> float:
    """Bytes of a beam search on the CPU: keys and values of hypotheses and sources, copied as they grow, and scores of
    the vocabulary. Hypotheses are taken to be twice as long as their sources at most, as those of a trained model are.
    """
    tokens = min(max_tokens, 2 * sentences * corpus.tokens)
    keys_and_values = 3 * tokens * beam * model.layers * model.embed_dim * 8
    hypotheses = beam * min(max_tokens / SHORT, sentences, max_sentences or math.inf)
    return 2 * keys_and_values + 4 * hypotheses * corpus.target_symbols * 4


def _mapped(corpus: CorpusSize) -> float:
    """Bytes of the binarised training text, which is mapped into memory."""
    return 2 * corpus.train * corpus.tokens * (2 if max(corpus.source_symbols, corpus.target_symbols) < 65_500 else 4)


def data_memory(rule: str, corpus: CorpusSize, learned_from: int, workers: int) -> int:
    """Memory of a data step, of a score or a table, in MB.

    Args:
        rule: its name.
        corpus: its sizes.
        learned_from: training pairs that BPE is learned from.
        workers: processes of the steps that have several.
    """
    fixed, a_pair, _ = _STEPS[rule]
    size = fixed * 1e6 + a_pair * corpus.train
    if rule == "learn_bpe":  # each worker counts words of its own
        size += (_A_TYPE + 200 * workers) * word_types(2 * learned_from * corpus.tokens)
    elif rule == "binarize" and workers > 1:  # two, a side each, beside the one that waits
        size += 2 * fixed * 1e6
    elif rule in ("prepare_shard", "data_report", "score", "prepare"):
        size += 2000 * (corpus.valid + corpus.test)
    return round(size / 1e6)


def word_types(tokens: float) -> float:
    """Different words in a text by Heaps' law, with constants of German, which has many."""
    return min(tokens, 8 * tokens**0.67)


def schedule(options: Mapping[str, Any], corpus: CorpusSize) -> tuple[float, float]:
    """Updates of a training and its epochs, about; batches are filled to four fifths."""
    training = options["training"]
    full = corpus.train * corpus.tokens / (0.8 * training["max_tokens"])
    an_epoch = math.ceil(max(full, corpus.train / training["max_sentences"]) / training["update_freq"])
    updates = min(an_epoch * training["max_epoch"], training["max_update"] or math.inf)
    return updates, updates / an_epoch


def training_minutes(
    options: Mapping[str, Any], model: Model, teacher: Model | None, corpus: CorpusSize, gpu: bool
) -> float:
    """Minutes of a training with all its validations; arguments as for :func:`training_memory`."""
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
    """Minutes of the caching of a teacher; arguments as for :func:`caching_memory`."""
    positions = (corpus.train + corpus.valid) * corpus.tokens
    work = 2 * _touched(teacher, corpus) / (GPU_FLOPS if gpu else CPU_FLOPS)
    # choosing and packing the k tokens is work of the CPU
    return (positions * (work + 1e-4) + positions / max_tokens * (GPU_UPDATE if gpu else CPU_UPDATE)) / 60


def translating_minutes(model: Model, corpus: CorpusSize, decoding: Decoding, gpu: bool) -> float:
    """Minutes of the translation of the test set; arguments as for :func:`translating_memory`."""
    return _search_seconds(model, corpus, corpus.test, decoding.beam, decoding.max_tokens, gpu) / 60


def _search_seconds(model: Model, corpus: CorpusSize, sentences: int, beam: int, max_tokens: int, gpu: bool) -> float:
    """Seconds of a beam search, hypotheses being up to twice as long as their sources; beam 0 only computes a loss."""
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
    """Minutes of a data step; arguments as for :func:`data_memory`, and the merges of BPE and the parts of the text."""
    _, _, pairs_a_second = _STEPS[rule]
    if rule == "learn_bpe":
        return (learned_from / pairs_a_second + merges / 50) / 60
    pairs = corpus.train / (shards if rule.endswith("_shard") else 1) + corpus.valid + corpus.test
    return pairs / pairs_a_second / 60 if pairs_a_second else 0
