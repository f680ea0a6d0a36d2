"""The report on the data, and the tables of all systems: their scores and their costs."""


# Follows every line from the raw text to the binarised data.
rule data_report:
    input:
        line_counts=LINE_COUNTS,
        bpe=[experiment.data_path(f"bpe/{split}.json") for split in SPLITS],
        binarized=experiment.data_path("binarize.json"),
        text=[path for step in ("raw", "tok", "bpe") for split in SPLITS for path in experiment.sides(step, split)],
    output:
        csv=REPORT[0],
        lengths=REPORT[1],
        page=REPORT[2],
    log:
        experiment.data_path("logs/data_report.log"),
    benchmark:
        experiment.data_path("benchmarks/data_report.tsv")
    conda:
        "../envs/nmt.yaml"
    threads: 1
    resources:
        **requests.of("data_report"),
    params:
        revision=revision("data_report"),
        experiment=experiment.name,
        languages=LANGUAGES,
        folder=lambda w, output: os.path.dirname(output.csv),
        # lines in the histograms
        limits=length_filter("train"),
    shell:
        "python workflow_scripts/data_report.py --experiment {params.experiment} {params.languages} {params.limits} "
        "--data-dir {params.folder:q} --line-counts {input.line_counts:q} --bpe {input.bpe:q} "
        "--binarized {input.binarized:q} --csv {output.csv:q} --lengths {output.lengths:q} --page {output.page:q} 2> {log:q}"


# The order of the inputs is that of the rows. It is not a parameter: another order of the same systems reruns nothing.
rule bleu_table:
    input:
        scores=[f"{run}/scores.json" for run in RUNS],
        training=[f"{run}/train.json" for run in RUNS],
        caches=CACHES,
    output:
        csv=f"{experiment.root}/bleu_table.csv",
        markdown=f"{experiment.root}/bleu_table.md",
        # of the experiment that ran last
        latest=["results/bleu_table.csv", "results/bleu_table.md"],
    log:
        f"{experiment.root}/logs/bleu_table.log",
    benchmark:
        f"{experiment.root}/benchmarks/bleu_table.tsv"
    conda:
        "../envs/nmt.yaml"
    threads: 1
    resources:
        **requests.of("bleu_table"),
    params:
        revision=revision("bleu_table"),
        experiment=experiment.name,
        compared=flags(experiment.config.table, "baseline", "senior"),
    shell:
        "python workflow_scripts/bleu_table.py --scores {input.scores:q} --training {input.training:q} "
        "--caches {input.caches:q} --experiment {params.experiment} {params.compared} "
        "--csv {output.csv:q} --markdown {output.markdown:q} 2> {log:q} "
        "&& cp {output.csv:q} {output.markdown:q} results/"


# The cost of a model of each system, including the models it depends on; the rows are in the same order.
rule cost_table:
    input:
        scores=rules.bleu_table.input.scores,
        training=rules.bleu_table.input.training,
        caches=rules.bleu_table.input.caches,
    output:
        csv=f"{experiment.root}/cost_table.csv",
        markdown=f"{experiment.root}/cost_table.md",
        latest=["results/cost_table.csv", "results/cost_table.md"],
    log:
        f"{experiment.root}/logs/cost_table.log",
    benchmark:
        f"{experiment.root}/benchmarks/cost_table.tsv"
    conda:
        "../envs/nmt.yaml"
    threads: 1
    resources:
        **requests.of("cost_table"),
    params:
        revision=revision("cost_table"),
        experiment=experiment.name,
        compared=flags(experiment.config.table, "baseline"),
    shell:
        "python workflow_scripts/cost_table.py --scores {input.scores:q} --training {input.training:q} "
        "--caches {input.caches:q} --experiment {params.experiment} {params.compared} "
        "--csv {output.csv:q} --markdown {output.markdown:q} 2> {log:q} "
        "&& cp {output.csv:q} {output.markdown:q} results/"
