"""From raw text to tokens: the training text in parts that run side by side, validation and test set whole."""

TOKEN_OPTIONS = " ".join(
    filter(
        None,
        [
            LANGUAGES,
            "--normalize" if exp.data.normalize_punctuation else "",
            "--lowercase" if exp.data.lowercase else "",
            FINAL_PERIOD,
        ],
    )
)


# The index of the parts alone: nothing is copied.
rule cut_train:
    input:
        source=exp.sides("raw", "train")[0],
        target=exp.sides("raw", "train")[1],
    output:
        exp.data_path("raw/train.parts.json"),
    log:
        exp.data_path("logs/cut_train.log"),
    benchmark:
        exp.data_path("benchmarks/cut_train.tsv")
    conda:
        "../envs/nmt.yaml"
    threads: 1
    resources:
        mem_mb=demand.memory("cut_train"),
        runtime=demand.runtime("cut_train"),
    params:
        revision=revision("shard_corpus"),
        parts=exp.data.shards,
    shell:
        "python workflow_scripts/shard_corpus.py --source {input.source:q} --target {input.target:q} "
        "--parts {params.parts} --output {output:q} 2> {log:q}"


rule prepare_shard:
    input:
        source=exp.sides("raw", "train")[0],
        target=exp.sides("raw", "train")[1],
        parts=exp.data_path("raw/train.parts.json"),
        held_out=[path for split in ("valid", "test") for path in exp.sides("tok", split) if exp.data.remove_overlap],
    output:
        source=temp(exp.shard("tok", "{shard}", exp.data.source_lang)),
        target=temp(exp.shard("tok", "{shard}", exp.data.target_lang)),
        report=temp(exp.shard("tok", "{shard}", "json")),
    log:
        exp.data_path("logs/prepare/{shard}.log"),
    benchmark:
        exp.data_path("benchmarks/prepare/{shard}.tsv")
    conda:
        "../envs/nmt.yaml"
    threads: 1
    resources:
        mem_mb=demand.memory("prepare_shard"),
        runtime=demand.runtime("prepare_shard"),
    params:
        revision=revision("prepare"),
        tokens=TOKEN_OPTIONS,
        filter=pair_filter("train"),
        held_out=lambda w, input: " ".join(
            f"--held-out {input.held_out[n]} {input.held_out[n + 1]}" for n in range(0, len(input.held_out), 2)
        ),
    shell:
        "python workflow_scripts/prepare.py --source {input.source:q} --target {input.target:q} --split train "
        "--parts {input.parts:q} --part {wildcards.shard} {params.tokens} {params.filter} {params.held_out} "
        "--output-source {output.source:q} --output-target {output.target:q} --report {output.report:q} 2> {log:q}"


# Also cuts the result into parts for the next step.
rule join_train:
    input:
        source=exp.shards("tok", exp.data.source_lang),
        target=exp.shards("tok", exp.data.target_lang),
        reports=exp.shards("tok", "json"),
        parts=exp.data_path("raw/train.parts.json"),
    output:
        source=exp.sides("tok", "train")[0],
        target=exp.sides("tok", "train")[1],
        report=exp.data_path("tok/train.json"),
        parts=exp.data_path("tok/train.parts.json"),
    log:
        exp.data_path("logs/join_train.log"),
    benchmark:
        exp.data_path("benchmarks/join_train.tsv")
    conda:
        "../envs/nmt.yaml"
    threads: 1
    resources:
        mem_mb=demand.memory("join_train"),
        runtime=demand.runtime("join_train"),
    params:
        revision=revision("join_shards"),
        deduplicate="--deduplicate" if exp.data.deduplicate else "",
    shell:
        "python workflow_scripts/join_shards.py --source {input.source:q} --target {input.target:q} "
        "--reports {input.reports:q} --parts {input.parts:q} {params.deduplicate} "
        "--output-source {output.source:q} --output-target {output.target:q} "
        "--output-parts {output.parts:q} --report {output.report:q} 2> {log:q}"


rule prepare:
    input:
        source=RAW_SOURCE,
        target=RAW_TARGET,
    output:
        source=exp.sides("tok", "{split}")[0],
        target=exp.sides("tok", "{split}")[1],
        report=exp.data_path("tok/{split}.json"),
    log:
        exp.data_path("logs/prepare.{split}.log"),
    benchmark:
        exp.data_path("benchmarks/prepare.{split}.tsv")
    wildcard_constraints:
        split="valid|test",
    conda:
        "../envs/nmt.yaml"
    threads: 1
    resources:
        mem_mb=demand.memory("prepare"),
        runtime=demand.runtime("prepare"),
    params:
        revision=revision("prepare"),
        tokens=TOKEN_OPTIONS,
        filter=lambda w: pair_filter(w.split),
    shell:
        "python workflow_scripts/prepare.py --source {input.source:q} --target {input.target:q} "
        "--split {wildcards.split} {params.tokens} {params.filter} "
        "--output-source {output.source:q} --output-target {output.target:q} --report {output.report:q} 2> {log:q}"
