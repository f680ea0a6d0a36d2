"""Replaces every command of the rules: writes the outputs that its flags name, and does no work.

A teacher cache must exist when it is read, because Snakemake may delete it too early.

Snakemake then records real provenance (parameters, inputs, commands) of a whole run that takes seconds.
"""

import sys
from pathlib import Path

OUTPUT_FLAGS = {"output", "output-source", "output-target", "output-shards", "report", "examples"}
OUTPUT_FLAGS |= {"csv", "markdown", "lengths", "page"}
SPLITS = ("train", "valid", "test")


def main() -> None:
    step = Path(sys.argv[0]).stem
    flags = read_flags(sys.argv[1:])
    for cache in flags.get("teacher-cache", []):
        Path(cache, "meta.json").read_text()
    for path in map(Path, outputs(step, flags)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{step} {path.name} {sorted(flags.items())}\n")


def read_flags(arguments: list[str]) -> dict[str, list[str]]:
    flags: dict[str, list[str]] = {}
    for argument in arguments:
        if argument.startswith("--"):
            values = flags.setdefault(argument.removeprefix("--"), [])
        else:
            values.append(argument)
    return flags


def outputs(step: str, flags: dict[str, list[str]]) -> list[str]:
    if step == "train":
        return in_folder(flags["output"][0], ["model.pt", "train.json", "config.json", "training.jsonl"])
    if step == "cache_teacher":
        return [*in_folder(flags["output"][0], ["meta.json", "train.00000.npy"]), *flags["summary"]]
    if "output-dir" in flags:
        source, target = flags["source-lang"][0], flags["target-lang"][0]
        if step == "binarize":
            pairs = [f"{split}.{source}-{target}.{side}" for split in SPLITS for side in (source, target)]
            names = [f"dict.{side}.txt" for side in (source, target)]
            names += [f"{pair}.{kind}" for pair in pairs for kind in ("bin", "idx")]
            return [*in_folder(flags["output-dir"][0], names), *flags["report"]]
        names = [f"{split}.{side}" for split in SPLITS for side in (source, target)] + ["stats.json"]
        return in_folder(flags["output-dir"][0], names)
    return [path for flag in sorted(OUTPUT_FLAGS & flags.keys()) for path in flags[flag]]


def in_folder(folder: str, names: list[str]) -> list[str]:
    return [f"{folder}/{name}" for name in names]
