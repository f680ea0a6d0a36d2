"""Evolving Knowledge Distillation for small translation models. README.md says how to use it."""

from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/prepare.smk"
include: "rules/bpe.smk"
include: "rules/train.smk"
include: "rules/distil.smk"
include: "rules/evaluate.smk"
include: "rules/results.smk"
include: "rules/maintenance.smk"


# Beside the targets: what needs the internet, which compute nodes may not have, and what takes seconds.
localrules:
    all,
    data,
    models,
    fetch,
    score,
    bleu_table,
    cost_table,


rule all:
    default_target: True
    input:
        "results/bleu_table.csv",
        "results/bleu_table.md",
        "results/cost_table.csv",
        "results/cost_table.md",
        CORPUS,
        MODELS,
        CACHES,
        EVALUATIONS,


# The binarised corpus, and nothing trained.
rule data:
    input:
        CORPUS,


# Every model of the experiment, and nothing translated.
rule models:
    input:
        CORPUS,
        MODELS,
        CACHES,
