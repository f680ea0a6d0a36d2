"""The account of the data, and the tables of all systems: what they score, and what they cost."""


# Every line from the raw text to the binarised data, accounted for.
rule data_report:
    input:
        line_counts=LINE_COUNTS,
        bpe=[exp.data_path(f"bpe/{split}.json") for split in SPLITS],
        binarized=exp.data_path("binarize.json"),
        text=[path for step in ("raw", "tok", "bpe") for split in SPLITS for path in exp.sides(step, split)],
    output:
        csv=REPORT[0],
        lengths=REPORT[1],
        page=REPORT[2],
    log:
        exp.data_path("logs/data_report.log"),
    benchmark:
        exp.data_path("benchmarks/data_report.tsv")
    conda:
        "../envs/nmt.yaml"
    threads: 1
    resources:
        mem_mb=demand.memory("data_report"),
        runtime=demand.runtime("data_report"),
    params:
        revision=revision("data_report"),
        experiment=exp.name,
        languages=LANGUAGES,
        folder=lambda w, output: os.path.dirname(output.csv),
        # drawn into the histograms
        limits=length_filter("train"),
    shell:
        "python workflow_scripts/data_report.py --experiment {params.experiment} {params.languages} {params.limits} "
        "--data-dir {params.folder:q} --line-counts {input.line_counts:q} --bpe {input.bpe:q} "
        "--binarized {input.binarized:q} --csv {output.csv:q} --lengths {output.lengths:q} --page {output.page:q} 2> {log:q}"


# The order of the inputs is the order of the rows. It is no parameter, because another order of the same systems is no
# reason to run anything again.
rule bleu_table:
    input:
        scores=[f"{run}/scores.json" for run in RUNS],
        training=[f"{run}/train.json" for run in RUNS],
        caches=CACHES,
    output:
        csv=f"{exp.root}/bleu_table.csv",
        markdown=f"{exp.root}/bleu_table.md",
        # those of the experiment that ran last, where one looks first
        latest=["results/bleu_table.csv", "results/bleu_table.md"],
    log:
        f"{exp.root}/logs/bleu_table.log",
    benchmark:
        f"{exp.root}/benchmarks/bleu_table.tsv"
    conda:
        "../envs/nmt.yaml"
    threads: 1
    resources:
        mem_mb=demand.memory("bleu_table"),
        runtime=demand.runtime("bleu_table"),
    params:
        revision=revision("bleu_table"),
        experiment=exp.name,
        compared=flags(exp.config.table, "baseline", "senior"),
    shell:
        "python workflow_scripts/bleu_table.py --scores {input.scores:q} --training {input.training:q} "
        "--caches {input.caches:q} --experiment {params.experiment} {params.compared} "
        "--csv {output.csv:q} --markdown {output.markdown:q} 2> {log:q} "
        "&& cp {output.csv:q} {output.markdown:q} results/"


# What a model of each system costs, with all that it is made from; its rows are in the same order.
rule cost_table:
    input:
        scores=rules.bleu_table.input.scores,
        training=rules.bleu_table.input.training,
        caches=rules.bleu_table.input.caches,
    output:
        csv=f"{exp.root}/cost_table.csv",
        markdown=f"{exp.root}/cost_table.md",
        latest=["results/cost_table.csv", "results/cost_table.md"],
    log:
        f"{exp.root}/logs/cost_table.log",
    benchmark:
        f"{exp.root}/benchmarks/cost_table.tsv"
    conda:
        "../envs/nmt.yaml"
    threads: 1
    resources:
        mem_mb=demand.memory("cost_table"),
        runtime=demand.runtime("cost_table"),
    params:
        revision=revision("cost_table"),
        experiment=exp.name,
        compared=flags(exp.config.table, "baseline"),
    shell:
        "python workflow_scripts/cost_table.py --scores {input.scores:q} --training {input.training:q} "
        "--caches {input.caches:q} --experiment {params.experiment} {params.compared} "
        "--csv {output.csv:q} --markdown {output.markdown:q} 2> {log:q} "
        "&& cp {output.csv:q} {output.markdown:q} results/"
