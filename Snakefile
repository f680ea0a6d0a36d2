"""Evolving Knowledge Distillation for small translation models; see README.md."""

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


# The targets, downloads (compute nodes may not reach the internet), and what takes seconds.
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


# The binarised corpus, without training.
rule data:
    input:
        CORPUS,


# Every model of the experiment, without translation.
rule models:
    input:
        CORPUS,
        MODELS,
        CACHES,
