"""Byte-pair encoding, learned on both sides of the training set, and binarisation."""


rule learn_bpe:
    input:
        exp.sides("tok", "train"),
    output:
        exp.data_path("bpe.codes"),
    log:
        exp.data_path("logs/learn_bpe.log"),
    benchmark:
        exp.data_path("benchmarks/learn_bpe.tsv")
    conda:
        "../envs/nmt.yaml"
    threads: exp.config.bpe.workers
    resources:
        mem_mb=demand.memory("learn_bpe"),
        runtime=demand.runtime("learn_bpe"),
    params:
        revision=revision("learn_bpe"),
        merges=flags(exp.config.bpe, "merges"),
        sample=flags(exp.config.bpe, "sample") if exp.config.bpe.sample else "",
    shell:
        "python workflow_scripts/learn_bpe.py --input {input:q} {params.merges} {params.sample} "
        "--workers {threads} --output {output:q} 2> {log:q}"


rule apply_bpe_shard:
    input:
        codes=exp.data_path("bpe.codes"),
        source=exp.sides("tok", "train")[0],
        target=exp.sides("tok", "train")[1],
        parts=exp.data_path("tok/train.parts.json"),
    output:
        source=temp(exp.shard("bpe", "{shard}", exp.data.source_lang)),
        target=temp(exp.shard("bpe", "{shard}", exp.data.target_lang)),
        report=temp(exp.shard("bpe", "{shard}", "json")),
    log:
        exp.data_path("logs/apply_bpe/{shard}.log"),
    benchmark:
        exp.data_path("benchmarks/apply_bpe/{shard}.tsv")
    conda:
        "../envs/nmt.yaml"
    threads: 1
    resources:
        mem_mb=demand.memory("apply_bpe_shard"),
        runtime=demand.runtime("apply_bpe_shard"),
    params:
        revision=revision("apply_bpe"),
        languages=LANGUAGES,
    shell:
        "python workflow_scripts/apply_bpe.py --codes {input.codes:q} --source {input.source:q} "
        "--target {input.target:q} --split train --parts {input.parts:q} --part {wildcards.shard} {params.languages} "
        "--output-source {output.source:q} --output-target {output.target:q} --report {output.report:q} 2> {log:q}"


rule join_bpe:
    input:
        source=exp.shards("bpe", exp.data.source_lang),
        target=exp.shards("bpe", exp.data.target_lang),
        reports=exp.shards("bpe", "json"),
        parts=exp.data_path("tok/train.parts.json"),
    output:
        source=exp.sides("bpe", "train")[0],
        target=exp.sides("bpe", "train")[1],
        report=exp.data_path("bpe/train.json"),
    log:
        exp.data_path("logs/join_bpe.log"),
    benchmark:
        exp.data_path("benchmarks/join_bpe.tsv")
    conda:
        "../envs/nmt.yaml"
    threads: 1
    resources:
        mem_mb=demand.memory("join_bpe"),
        runtime=demand.runtime("join_bpe"),
    params:
        revision=revision("join_shards"),
    shell:
        "python workflow_scripts/join_shards.py --source {input.source:q} --target {input.target:q} "
        "--reports {input.reports:q} --parts {input.parts:q} "
        "--output-source {output.source:q} --output-target {output.target:q} --report {output.report:q} 2> {log:q}"


rule apply_bpe:
    input:
        codes=exp.data_path("bpe.codes"),
        source=exp.sides("tok", "{split}")[0],
        target=exp.sides("tok", "{split}")[1],
    output:
        source=exp.sides("bpe", "{split}")[0],
        target=exp.sides("bpe", "{split}")[1],
        report=exp.data_path("bpe/{split}.json"),
    log:
        exp.data_path("logs/apply_bpe.{split}.log"),
    benchmark:
        exp.data_path("benchmarks/apply_bpe.{split}.tsv")
    wildcard_constraints:
        split="valid|test",
    conda:
        "../envs/nmt.yaml"
    threads: 1
    resources:
        mem_mb=demand.memory("apply_bpe"),
        runtime=demand.runtime("apply_bpe"),
    params:
        revision=revision("apply_bpe"),
        languages=LANGUAGES,
    shell:
        "python workflow_scripts/apply_bpe.py --codes {input.codes:q} --source {input.source:q} "
        "--target {input.target:q} --split {wildcards.split} {params.languages} "
        "--output-source {output.source:q} --output-target {output.target:q} --report {output.report:q} 2> {log:q}"


rule binarize:
    input:
        [path for split in SPLITS for path in exp.sides("bpe", split)],
    output:
        exp.binarized(),
        report=exp.data_path("binarize.json"),
    log:
        exp.data_path("logs/binarize.log"),
    benchmark:
        exp.data_path("benchmarks/binarize.tsv")
    conda:
        "../envs/nmt.yaml"
    threads: min(exp.config.bpe.workers, 2)
    resources:
        mem_mb=demand.memory("binarize"),
        runtime=demand.runtime("binarize"),
    params:
        revision=revision("binarize"),
        bpe=lambda w, input: os.path.dirname(input[0]),
        folder=lambda w, output: os.path.dirname(output[0]),
        languages=LANGUAGES,
        joined="--joined-dictionary" if exp.config.bpe.joined_dictionary else "",
    shell:
        "python workflow_scripts/binarize.py --bpe-dir {params.bpe:q} {params.languages} {params.joined} "
        "--workers {threads} --output-dir {params.folder:q} --report {output.report:q} 2> {log:q}"
