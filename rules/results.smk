"""The table of all systems."""


# The order of the inputs is the order of the rows. It is no parameter, because another order of the same systems is no
# reason to run anything again.
rule bleu_table:
    input:
        scores=[f"{run}/scores.json" for run in RUNS],
        training=[f"{run}/train.json" for run in RUNS],
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
    params:
        experiment=exp.name,
        compared=flags(exp.config.table, "baseline", "senior"),
    shell:
        "python workflow_scripts/table.py --scores {input.scores:q} --training {input.training:q} "
        "--experiment {params.experiment} {params.compared} "
        "--csv {output.csv:q} --markdown {output.markdown:q} 2> {log:q} "
        "&& cp {output.csv:q} {output.markdown:q} results/"
