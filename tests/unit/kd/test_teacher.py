"""kd/teacher.py: a teacher is loaded safely, checked, frozen, and not part of the criterion's modules."""

import hashlib
import importlib
import pickle
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import fairseq.utils
import numpy as np
import pytest
import torch

import kd
from ekd_nmt.common.errors import UserError
from kd.binarization import encode
from kd.dictionaries import dictionary_fingerprint, fingerprints
from kd.fairseq_api import Dictionary
from kd.teacher import Teacher
from tiny_models import make_model, make_task, model_options, save_checkpoint

PLUGIN = Path(kd.__file__).parent


def snapshot(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_frozen_and_unchanged_after_a_step(make_kd, student, sample):
    criterion = make_kd().train()
    teacher = criterion.teacher.model
    before, student_before = snapshot(teacher), snapshot(student)
    optimizer = torch.optim.SGD([*student.parameters(), *teacher.parameters()], lr=0.1)
    loss, _, _ = criterion(student, sample)
    loss.backward()
    optimizer.step()
    assert all(not p.requires_grad and p.grad is None for p in teacher.parameters())
    assert same(before, snapshot(teacher))
    assert not same(student_before, snapshot(student))


def test_outside_the_criterions_modules(make_kd):
    criterion = make_kd()
    assert list(criterion.parameters()) == []
    assert criterion.state_dict() == {}
    assert list(criterion.children()) == []


def test_teacher_is_in_eval_mode_while_the_criterion_trains(make_kd, student, sample):
    criterion = make_kd().train()
    losses = [criterion(student, sample)[2]["kd_loss"].item() for _ in range(3)]
    assert not any(module.training for module in criterion.teacher.model.modules())
    assert len(set(losses)) == 1, "the teacher's dropout is active"


def test_teacher_dropout_is_on_in_training_and_off_in_validation(make_kd, student, sample):
    criterion = make_kd(teacher_dropout=True)
    deterministic = make_kd()(student, sample)[2]["kd_loss"].item()
    for _ in range(2):  # fairseq alternates
        criterion.train()
        losses = {criterion(student, sample)[2]["kd_loss"].item() for _ in range(3)}
        assert len(losses) == 3
        assert criterion.teacher.model.training
        criterion.eval()
        assert criterion(student, sample)[2]["kd_loss"].item() == pytest.approx(deterministic, rel=1e-6)
        assert not any(module.training for module in criterion.teacher.model.modules())


def test_loads_the_saved_weights(task, teacher_path):
    teacher = Teacher.load(teacher_path, task)
    assert same(snapshot(teacher.model), snapshot(make_model(task, dim=12, dropout=0.3, seed=2)))


def test_loading_leaves_the_tasks_validation_generator_alone(task, teacher_path):
    """fairseq measures validation BLEU of the last model that task.build_model built, which must be the student."""
    task.cfg.eval_bleu = True
    task.cfg.eval_bleu_args = "{}"
    task.cfg.eval_bleu_detok = "space"
    student = task.build_model(model_options())
    Teacher.load(teacher_path, task)
    assert task.sequence_generator.model.single_model is student


def test_fingerprint_is_of_the_symbols_in_order():
    dictionary = make_task(source_words=2).source_dictionary
    expected = hashlib.sha256(b"<s>\n<pad>\n</s>\n<unk>\nw0\nw1").hexdigest()
    assert dictionary_fingerprint(dictionary) == expected
    dictionary.add_symbol("w0", n=100)  # counts do not matter
    assert dictionary_fingerprint(dictionary) == expected
    other = Dictionary()
    for symbol in ("w1", "w0"):
        other.add_symbol(symbol)
    assert dictionary_fingerprint(other) != expected


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"source_words": 8}, "its source dictionary has 13 symbols, the student's has 12; train teacher and student"),
        ({"target_words": 20}, "its target dictionary has 17 symbols, the student's has 24"),
        ({"prefix": "v"}, "its source dictionary has 13 symbols, as the student's, but other symbols or another order"),
    ],
)
def test_another_dictionary(teacher_path, other, message):
    with pytest.raises(UserError, match=message) as error:
        Teacher.load(teacher_path, make_task(**other))
    assert str(teacher_path) in str(error.value)


def test_only_the_target_symbols_differ(task, tmp_path):
    path = tmp_path / "teacher.pt"
    save_checkpoint(path, make_model(task), model_options(), {**fingerprints(task), "target": "0" * 64})
    with pytest.raises(UserError, match="its target dictionary has 17 symbols, as the student's, but other symbols"):
        Teacher.load(path, task)


def test_a_foreign_teacher_is_checked_by_size_with_a_warning(task, tmp_path, caplog):
    path = tmp_path / "teacher.pt"
    save_checkpoint(path, make_model(task), model_options(), None)
    Teacher.load(path, task)
    assert "only the sizes of its dictionaries are checked" in caplog.text
    with pytest.raises(UserError, match="its target dictionary has 17 symbols"):
        Teacher.load(path, make_task(target_words=3))


def test_missing_file(task, tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.pt: no such file; train the teacher first"):
        Teacher.load(tmp_path / "nowhere.pt", task)


class Malicious:
    def __reduce__(self):
        return Path.touch, (Path("owned"),)


@pytest.mark.parametrize("content", ["empty", "text", "truncated", "no checkpoint", "malicious"])
def test_unreadable_file(task, teacher_path, tmp_path, content, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.pt"
    if content == "empty":
        path.touch()
    elif content == "text":
        path.write_text("no model\n")
    elif content == "truncated":
        path.write_bytes(teacher_path.read_bytes()[:-500])
    elif content == "no checkpoint":
        torch.save([1, 2], path)
    else:
        torch.save({"model": Malicious()}, path)
    with pytest.raises(UserError, match=r"bad\.pt: not a readable fairseq checkpoint") as error:
        Teacher.load(path, task)
    assert "\n" not in str(error.value)
    assert not Path("owned").exists()


def test_weights_that_do_not_fit_the_options(task, tmp_path):
    path = tmp_path / "teacher.pt"
    save_checkpoint(path, make_model(task, dim=8), model_options(dim=12), fingerprints(task))
    with pytest.raises(UserError, match="its weights do not fit its options"):
        Teacher.load(path, task)


def test_safe_globals_cover_fairseqs_checkpoints_and_nothing_else(tmp_path):
    path = tmp_path / "state.pt"
    state = {
        "cfg": Namespace(arch="x"),
        "bleu": [np.array([3, 2, 1]), np.array([3.0, 2.0])],  # of one process, and summed over several
    }
    torch.save(state, path)
    loaded = torch.load(path)
    assert loaded["cfg"] == state["cfg"]
    assert all(np.array_equal(a, b) for a, b in zip(loaded["bleu"], state["bleu"], strict=True))
    ours = {item for item in torch.serialization.get_safe_globals() if not item.__module__.startswith("torch")}
    assert ours == set(kd.SAFE_GLOBALS)
    torch.save(Path("x"), path)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path)


def test_user_dir_after_import_changes_nothing():
    before = torch.serialization.get_safe_globals()
    fairseq.utils.import_user_module(Namespace(user_dir=str(PLUGIN)))
    importlib.reload(kd)
    assert set(torch.serialization.get_safe_globals()) == set(before)
    assert sys.modules["kd"] is kd


def write_binarised(folder: Path, task) -> None:
    """24 training and 8 validation pairs of random words."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for language, dictionary in (("de", task.source_dictionary), ("en", task.target_dictionary)):
        dictionary.save(str(folder / f"dict.{language}.txt"))
        for split, size in (("train", 24), ("valid", 8)):
            lines = [" ".join(rng.choice(dictionary.symbols[4:], rng.integers(1, 6))) for _ in range(size)]
            encode(lines, dictionary, folder / f"{split}.de-en.{language}")


@pytest.mark.slow
def test_fairseq_train_with_the_plugin(task, teacher_path, tmp_path):
    """Options, training, validation BLEU and resuming on fairseq's command line."""
    write_binarised(tmp_path / "bin", task)
    options = f"""bin --user-dir {PLUGIN} --source-lang de --target-lang en --arch transformer_iwslt_de_en
        --encoder-layers 1 --decoder-layers 1 --encoder-embed-dim 8 --decoder-embed-dim 8 --encoder-ffn-embed-dim 8
        --decoder-ffn-embed-dim 8 --encoder-attention-heads 1 --decoder-attention-heads 1 --optimizer adam --lr 0.01
        --criterion label_smoothed_kd --label-smoothing 0.1 --alpha 0.25 --temperature 2 --divergence reverse_kl
        --teacher {teacher_path} --teacher-dropout --max-tokens 60 --cpu --num-workers 0 --log-format json
        --eval-bleu --eval-bleu-detok space --save-dir out --no-epoch-checkpoints"""
    code = (
        "import sys, kd\n"  # the plugin first, then again as --user-dir
        "from fairseq_cli.train import cli_main\n"
        "options = sys.argv[1:]\n"
        "for epochs in ('1', '2'):\n"
        "    sys.argv = ['train', *options, '--max-epoch', epochs]\n"
        "    cli_main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *options.split()],
        cwd=tmp_path,
        env={"PYTHONPATH": str(PLUGIN.parent), "OMP_NUM_THREADS": "1", "PATH": ""},
        capture_output=True,
        text=True,
    )
    log = done.stdout + done.stderr
    assert done.returncode == 0, log[-3000:]
    assert "tensorboardX" not in log
    assert '"valid_kd_loss"' in log
    assert '"train_kd_loss"' in log
    assert "Loaded checkpoint out/checkpoint_last.pt (epoch 2 @" in log
    state = torch.load(tmp_path / "out" / "checkpoint_last.pt")
    expected = {"alpha": 0.25, "temperature": 2.0, "divergence": "reverse_kl", "teacher_dropout": True}
    assert expected.items() <= state["cfg"]["criterion"].items()
    assert not any("teacher" in name for name in state["model"])
    assert state["model"]["encoder.embed_tokens.weight"].shape == (13, 8)
