"""kd/beam_search.py: batches that do not fit into memory."""

import numpy as np
import pytest

from ekd_nmt.common.errors import UserError

# the model comes from fairseq, whose warnings are not ours
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
SENTENCES = 32


@pytest.fixture
def translator(plain, tiny_corpus):
    from kd.beam_search import Translator

    return Translator(plain, tiny_corpus, "en", cpu=True)


@pytest.fixture
def small_memory(monkeypatch):
    """Searches of more than ``room`` sentences fail with ``error``; ``sizes`` records the batch sizes."""
    from kd.beam_search import SequenceGenerator

    generate = SequenceGenerator.generate

    class Memory:
        room, error, sizes = SENTENCES, None, []

    def fail(self, models, sample, **options):
        Memory.sizes.append(len(sample["id"]))
        if Memory.sizes[-1] > Memory.room:
            raise Memory.error
        return generate(self, models, sample, **options)

    monkeypatch.setattr(SequenceGenerator, "generate", fail)
    return Memory


def out_of_memory(kind: str) -> Exception:
    import torch

    cpu = "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to"
    return {
        "gpu": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        "cpu": RuntimeError(cpu),
        "python": MemoryError(),
    }[kind]


def search(translator, log=None):
    from kd.beam_search import Beam, Search

    return Search(translator, "train", Beam(2), say=[].append if log is None else log.append)


@pytest.mark.parametrize("kind", ["gpu", "cpu", "python"])
def test_batches_that_do_not_fit_are_halved(translator, small_memory, kind):
    order = np.random.default_rng(1).permutation(SENTENCES)
    wanted = search(translator).translate(order)
    small_memory.room, small_memory.error, small_memory.sizes = 5, out_of_memory(kind), []
    log = []
    halving = search(translator, log)
    for _ in range(2):  # logged once
        found = halving.translate(order)
        assert [each.text for each in found] == [each.text for each in wanted]
        assert [each.score for each in found] == pytest.approx([each.score for each in wanted], abs=1e-5)
    assert log == [f"a batch of {SENTENCES} sentences did not fit into memory; batches are halved"]
    once = [32, 16, 8, 4, 4, 8, 4, 4, 16, 8, 4, 4, 8, 4, 4]
    assert small_memory.sizes == once * 2


def test_a_stop_signal_stops_between_halves(translator, small_memory):
    from kd.beam_search import Beam, Search

    small_memory.room, small_memory.error, small_memory.sizes = 1, out_of_memory("gpu"), []

    def before_batch():
        if len(small_memory.sizes) == 3:
            raise SystemExit

    with pytest.raises(SystemExit):
        Search(translator, "train", Beam(2), before_batch, lambda line: None).translate(np.arange(SENTENCES))
    assert small_memory.sizes == [32, 16, 8]


def test_a_sentence_that_does_not_fit_is_an_error(translator, small_memory):
    small_memory.room, small_memory.error = 0, out_of_memory("gpu")
    with pytest.raises(UserError, match=r"^line 8 of train: does not fit into memory, not even alone; ask for more"):
        search(translator).translate(np.array([7, 3, 5]))


def test_other_errors_are_not_taken_for_out_of_memory(translator, small_memory):
    small_memory.room, small_memory.error, small_memory.sizes = 0, RuntimeError("shapes do not fit"), []
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        search(translator).translate(np.arange(4))
    assert small_memory.sizes == [4]
