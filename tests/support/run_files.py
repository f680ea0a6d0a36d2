"""The files of trained systems and of teacher caches, in the folders where the workflow has them."""

import csv
import json
import subprocess
import sys
from pathlib import Path

SIGNATURES = {"bleu": "tok:13a", "bleu_tokenized": "tok:none", "chrf": "nc:6"}


def run_files(
    root: Path,
    system: str,
    bleu: float = 20.0,
    seed: int = 1,
    *,
    teacher: str | None = None,
    teacher_seed: int | None = None,
    mode: str = "cached",
    variant: str = "top32",
    init: str | None = None,
    **changes,
) -> tuple[Path, Path]:
    """Write scores.json and train.json of one run; ``changes`` go to the file that has the key."""
    teacher_run = root / f"{teacher}/seed{teacher_seed or seed}"
    inputs = {
        "teacher": f"{teacher_run}/model.pt" if teacher else None,
        "init": f"{root}/{init}/seed{seed}/model.pt" if init else None,
        "cache": f"{teacher_run}/cache/{variant}" if teacher and mode == "cached" else None,
    }
    scores = {"sentences": 1000, "bleu": bleu, "bleu_tokenized": bleu - 1, "chrf": bleu + 20, "signatures": SIGNATURES}
    train = {"system": system, "model": system.split("_")[-1], "teacher": teacher, "init": init, "seed": seed}
    train |= {"parameters": 1000, "updates": 200, "epochs": 3, "train_seconds": 12.345, "device": "cpu"}
    train |= {"tokens_per_second": 1000.4, "teacher_mode": mode if teacher else None, "inputs": inputs}
    paths = []
    for name, content in (("scores", scores), ("train", train)):
        content |= {key: value for key, value in changes.items() if key in content}
        path = root / f"{system}/seed{seed}/{name}.json"
        paths.append(write(path, content))
    return tuple(paths)


def cache_file(root: Path, teacher: str, seed: int = 1, variant: str = "top32", **changes) -> Path:
    """Write the summary of a teacher's cache."""
    content = {"teacher": f"{root}/{teacher}/seed{seed}/model.pt", "top_k": 32, "temperature": 1.0, "tokens": 5000}
    content |= {"bytes": 650000, "coverage": {"mean": 0.97, "p5": 0.81}, "tokens_per_second": 500.0}
    content |= {"seconds": 10.0, "device": "cpu"} | changes
    return write(root / f"{teacher}/seed{seed}/cache/{variant}.json", content)


def write(path: Path, content: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def call(script: str, folder: Path, pairs: list, caches: list, *flags: str) -> subprocess.CompletedProcess:
    """Run a table's script in ``folder``; it writes out/t.csv and out/t.md there."""
    scores, training = zip(*pairs, strict=True)
    inputs = ["--scores", *scores, "--training", *training, "--caches", *caches, "--experiment", "demo"]
    command = [sys.executable, script, *inputs, "--csv", "out/t.csv", "--markdown", "out/t.md", *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


def read_csv(folder: Path) -> list[dict[str, str]]:
    with (folder / "out/t.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))
