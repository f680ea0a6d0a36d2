"""The steps that use models, and the tables; their numbers are the same on every machine but for rounding."""

import json
import math
from pathlib import Path
from unittest import mock

import numpy as np
import yaml
from golden_steps import call, contents, read_json, step, write
from text_steps import sides

from ekd_nmt.config.experiment import Experiment
from run_files import cache_file, run_files

# No dropout, because its random numbers depend on the maker of the processor.
CONFIG = """
experiment: golden
models:
  small: {embed_dim: 8, ffn_dim: 8, heads: 2, layers: 1}
  large: {embed_dim: 16, ffn_dim: 16, heads: 2, layers: 1}
training:
  {max_epoch: 9, max_update: 3, max_sentences: 12, update_freq: 2, lr: 0.01, warmup_updates: 2, clip_norm: 2,
   dropout: 0, validation: {metric: loss, beam: 2, max_len_a: 0, max_len_b: 5}}
distillation: {alpha: 0.4, temperature: 1.5, top_k: 5}
table: {baseline: plain, senior: teacher}
systems:
  teacher: {model: large}
  plain: {model: small}
  forward_kl_cached: {model: small, teacher: teacher}
  reverse_kl_cached: {model: small, teacher: teacher, divergence: reverse_kl}
  forward_kl_bucket: {model: small, teacher: teacher, tail: bucket}
  reverse_kl_bucket: {model: small, teacher: teacher, tail: bucket, divergence: reverse_kl}
  forward_kl_full: {model: small, teacher: teacher, top_k: full, temperature: 1}
  forward_kl_online: {model: small, teacher: teacher, teacher_mode: online, temperature: 1}
  reverse_kl_online: {model: small, teacher: teacher, teacher_mode: online, divergence: reverse_kl}
  second_stage: {model: small, teacher: teacher, init: plain}
  overtrained: {model: large, max_epoch: 90, max_update: 120, lr: 0.02, label_smoothing: 0,
    validation: {metric: bleu, interval: 20}}
"""
SYSTEMS = Experiment(yaml.safe_load(CONFIG))
TOP_K = "top_k"  # flag of cache_teacher


def teacher() -> str:
    """Train the system ``teacher`` and give it random weights, which depend on no step; returns its file."""
    import torch

    path = Path("teacher/model.pt")
    if path.exists():
        return str(path)
    call("train", "--cpu", options=json.dumps(SYSTEMS.options("teacher")), data="bin", seed=1, output="teacher")
    state, draw = torch.load(path), np.random.RandomState(1).standard_normal
    for name, weight in state["model"].items():
        if weight.numel() > 1:
            centre = 1.0 if name.endswith("norm.weight") else 0.0
            weight.copy_(torch.from_numpy(centre + 0.3 * draw(weight.shape)))
    embedding = state["model"]["decoder.embed_tokens.weight"]
    embedding[2] = 0  # so that translations do not end at once
    state["model"]["decoder.output_projection.weight"].copy_(embedding)
    torch.save(state, path)
    return str(path)


@step("binarize")
def cache_teacher() -> dict:
    """The five most probable tokens at a temperature, and the whole distributions."""
    model = {"teacher": teacher(), "data": "bin", "max_tokens": 60}
    call("cache_teacher", "--cpu", **model, **{TOP_K: 5}, temperature=1.5, output="top5", summary="top5.json")
    call("cache_teacher", "--cpu", **model, **{TOP_K: "full"}, output="full", summary="full.json")
    top, full = (np.load(f"{folder}/train.00000.npy") for folder in ("top5", "full"))
    counts = [read_json(f"{name}.json")[key] for name in ("top5", "full") for key in ("tokens", "bytes")]
    return {
        "files": " ".join(sorted(str(path) for folder in ("top5", "full") for path in Path(folder).iterdir())),
        "tokens and bytes": str(counts),
        "starts": str(np.load("top5/train.starts.npy").tolist()),
        "top tokens": str(top["id"][:8].tolist()),
        "log-probabilities, float16": _numbers(top["logp"][:8]),
        "tails, float16": _numbers(top["tail"][:8]),
        "average tail": _numbers(np.load("top5/tails.npy")[:16]),
        "whole distribution": _numbers(full["logp"][0]),
        "sums": _numbers([each.astype(float).sum() for each in (top["logp"], top["tail"], full["logp"])]),
        "coverage, float16": _numbers([read_json("top5.json")["coverage"][key] for key in ("mean", "p5")]),
    }


def _numbers(values: object) -> list[float]:
    return [float(f"{value:.7g}") for value in np.asarray(values, dtype=float).ravel()]


@step("binarize", "cache_teacher")
def train() -> dict:
    """The losses of three updates of each system, those of its validations, and the size of its weights."""
    outputs = {}
    for system in [name for name in SYSTEMS.systems if name not in ("teacher", "overtrained")]:
        options = SYSTEMS.options(system)
        files = {"teacher": "teacher/model.pt"} if options["teacher"] else {}
        if options["teacher"] and "online" not in system:
            files["teacher_cache"] = "full" if "full" in system else "top5"
        if options["init"]:
            files["init"] = f"{options['init']}/model.pt"
        outputs |= {f"{system}, {name}": found for name, found in _training(system, options, files).items()}
    call("train", "--cpu", options=json.dumps(SYSTEMS.options("overtrained")), data="bin", seed=1, output="overtrained")
    history = map(json.loads, Path("overtrained/training.jsonl").read_text(encoding="utf-8").splitlines())
    outputs["overtrained, BLEU"] = [record["bleu"] for record in history if record["event"] == "valid"]
    return outputs


def _training(system: str, options: dict, files: dict[str, str]) -> dict:
    from fairseq.tasks.fairseq_task import FairseqTask

    losses: dict[bool, list[float]] = {True: [], False: []}
    reduce_metrics = FairseqTask.reduce_metrics

    def keep(task: FairseqTask, outputs: list[dict], criterion: object) -> None:
        sums = {
            key: sum(float(log[key]) for log in outputs) for key in ("loss", "kd_loss", "ntokens") if key in outputs[0]
        }
        losses[criterion.training] += [total / sums["ntokens"] for key, total in sums.items() if key != "ntokens"]
        reduce_metrics(task, outputs, criterion)

    with mock.patch.object(FairseqTask, "reduce_metrics", keep):
        call("train", "--cpu", options=json.dumps(options), data="bin", seed=1, **files, output=system)
    import torch

    weights = torch.load(f"{system}/model.pt")["model"].values()
    summary = read_json(f"{system}/train.json")
    return {
        "updates": _numbers(losses[True]),
        "validations": _numbers(losses[False]),
        "weights": _numbers([math.sqrt(sum(float((weight.double() ** 2).sum()) for weight in weights))]),
        "summary": str([summary[key] for key in ("parameters", "updates", "epochs", "best_epoch", "teacher_mode")]),
    }


@step("split", "join_shards", "binarize", "train")
def translate() -> dict:
    """With a model of random weights the test set, with one that was trained for long the training set."""
    search = {"beam": 3, "lenpen": 1.2, "max_len_a": 0.5, "max_len_b": 4, "max_tokens": 30, "target_lang": "en"}
    test = {"split": "test", **sides("raw/test")}
    train = {"split": "train", **sides("tok/train")}
    untrained = _translations({"model": teacher(), **test, **search})
    scores = [record.pop("score") for record in untrained]
    trained = _translations({"model": "overtrained/model.pt", **train, **search, "max_len_b": 9})
    return {
        "untrained": json.dumps(untrained, ensure_ascii=False),
        "untrained, scores": scores,
        "trained": "\n".join(record["hypothesis"] for record in trained),
    }


def _translations(flags: dict[str, object]) -> list[dict]:
    flags["reference"] = flags.pop("target")
    call("translate", "--cpu", data="bin", **flags, output="translated.jsonl")
    return [json.loads(line) for line in Path("translated.jsonl").read_text(encoding="utf-8").split("\n")[:-1]]


@step("split", "prepare")
def score() -> dict:
    """References with their words changed in part."""
    references = [Path(f"{folder}/test.en").read_text(encoding="utf-8").split("\n")[:-1] for folder in ("raw", "tok")]
    records = [
        {
            "id": n,
            "source": "-",
            "reference": raw,
            "hypothesis": raw.replace("The", "the" if n % 2 else "A"),
            "hypothesis_tokenized": tok,
        }
        for n, (raw, tok) in enumerate(zip(*references, strict=True))
    ]
    records[0] |= {"hypothesis": "one line, 1,000 Houses", "hypothesis_tokenized": "One line , 1,000 houses"}
    runs = {
        "cased": ([], 5),
        "lowercased": (["--lowercase"], 5),
        "smoothed": ([], 1),
    }  # one sentence has no right 4-gram
    for name, (flags, count) in runs.items():
        paths = {"output": f"{name}.json", "examples": f"{name}.txt"}
        paths["hypotheses"] = write(f"{name}.jsonl", "".join(f"{json.dumps(record)}\n" for record in records[:count]))
        paths["tokenized_reference"] = write(f"{name}.en", "".join(f"{line}\n" for line in references[1][:count]))
        call("score", *flags, **paths)
    recorded = contents(*(f"{name}.txt" for name in runs))
    for name in runs:
        content = read_json(f"{name}.json")
        recorded[f"{name}, numbers"] = _numbers([content[metric] for metric in ("bleu", "bleu_tokenized", "chrf")])
        recorded[f"{name}, lengths"] = str(content["lengths"])
    return recorded


def _table(command: str, **flags: str) -> dict:
    root = Path("runs")
    pairs = [
        run_files(root, "student", 20.0),
        run_files(root, "student", 21.5, seed=2, updates=300, train_seconds=20.0),
        run_files(root, "senior_teacher", 33.3, train_seconds=100.0),
        run_files(root, "junior_student", 25.25, teacher="senior_teacher", train_seconds=7.0),
        run_files(root, "master_student", 28.0, teacher="senior_teacher", init="junior_student"),
        run_files(root, "online_student", 27.0, teacher="senior_teacher", mode="online"),
    ]
    scores, training = zip(*pairs, strict=True)
    inputs = {"scores": scores, "training": training, "caches": [cache_file(root, "senior_teacher", seconds=31.0)]}
    outputs = {"csv": f"{command}.csv", "markdown": f"{command}.md"}
    call(command, **inputs, experiment="golden", **flags, baseline="student", **outputs)
    return contents(*outputs.values())


@step()
def bleu_table() -> dict:
    """Two seeds of a system, and students of a cached and an online teacher."""
    return _table("bleu_table", senior="senior_teacher")


@step()
def cost_table() -> dict:
    """Of the same runs."""
    return _table("cost_table")
