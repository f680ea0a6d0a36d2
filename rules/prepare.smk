"""From raw text to tokens: the training set in shards that run in parallel, the validation and test sets as a whole."""

TOKEN_OPTIONS = " ".join(
    filter(
        None,
        [
            LANGUAGES,
            "--normalize" if experiment.data.normalize_punctuation else "",
            "--lowercase" if experiment.data.lowercase else "",
            FINAL_PERIOD,
        ],
    )
)


# Writes the byte ranges of the shards; no text is copied.
rule shard_corpus:
    input:
        source=experiment.sides("raw", "train")[0],
        target=experiment.sides("raw", "train")[1],
    output:
        experiment.data_path("raw/train.shards.json"),
    log:
        experiment.data_path("logs/shard_corpus.log"),
    benchmark:
        experiment.data_path("benchmarks/shard_corpus.tsv")
    conda:
        "../envs/nmt.yaml"
    threads: 1
    resources:
        **requests.of("shard_corpus"),
    params:
        revision=revision("shard_corpus"),
        shards=experiment.data.shards,
    shell:
        "python workflow_scripts/shard_corpus.py --source {input.source:q} --target {input.target:q} "
        "--shards {params.shards} --output {output:q} 2> {log:q}"


rule prepare:
    input:
        source=RAW_SOURCE,
        target=RAW_TARGET,
    output:
        source=experiment.sides("tok", "{split}")[0],
        target=experiment.sides("tok", "{split}")[1],
        report=experiment.data_path("tok/{split}.json"),
    log:
        experiment.data_path("logs/prepare.{split}.log"),
    benchmark:
        experiment.data_path("benchmarks/prepare.{split}.tsv")
    wildcard_constraints:
        split="valid|test",
    conda:
        "../envs/nmt.yaml"
    threads: 1
    resources:
        **requests.of("prepare"),
    params:
        revision=revision("prepare"),
        text=lambda w: f"--split {w.split}",
        tokens=TOKEN_OPTIONS,
        filter=lambda w: pair_filter(w.split),
        held_out="",
    shell:
        "python workflow_scripts/prepare.py --source {input.source:q} --target {input.target:q} {params.text} "
        "{params.tokens} {params.filter} {params.held_out} "
        "--output-source {output.source:q} --output-target {output.target:q} --report {output.report:q} 2> {log:q}"


use rule prepare as prepare_shard with:
    input:
        source=experiment.sides("raw", "train")[0],
        target=experiment.sides("raw", "train")[1],
        shards=experiment.data_path("raw/train.shards.json"),
        held_out=[
            path
            for split in ("valid", "test")
            for path in experiment.sides("tok", split)
            if experiment.data.remove_overlap
        ],
    output:
        source=temp(experiment.shard("tok", "{shard}", experiment.data.source_lang)),
        target=temp(experiment.shard("tok", "{shard}", experiment.data.target_lang)),
        report=temp(experiment.shard("tok", "{shard}", "json")),
    log:
        experiment.data_path("logs/prepare/{shard}.log"),
    benchmark:
        experiment.data_path("benchmarks/prepare/{shard}.tsv")
    resources:
        **requests.of("prepare_shard"),
    params:
        text=lambda w, input: f"--split train --shards {input.shards} --shard {w.shard}",
        filter=pair_filter("train"),
        held_out=lambda w, input: " ".join(
            f"--held-out {input.held_out[n]} {input.held_out[n + 1]}" for n in range(0, len(input.held_out), 2)
        ),


# Also writes the index of the shards for the next step.
rule join_shards:
    input:
        source=experiment.shards("tok", experiment.data.source_lang),
        target=experiment.shards("tok", experiment.data.target_lang),
        reports=experiment.shards("tok", "json"),
        shards=experiment.data_path("raw/train.shards.json"),
    output:
        source=experiment.sides("tok", "train")[0],
        target=experiment.sides("tok", "train")[1],
        report=experiment.data_path("tok/train.json"),
        shards=experiment.data_path("tok/train.shards.json"),
    log:
        experiment.data_path("logs/join_shards.log"),
    benchmark:
        experiment.data_path("benchmarks/join_shards.tsv")
    conda:
        "../envs/nmt.yaml"
    threads: 1
    resources:
        **requests.of("join_shards"),
    params:
        revision=revision("join_shards"),
        deduplicate="--deduplicate" if experiment.data.deduplicate else "",
        index=lambda w, output: f"--output-shards {output.shards}",
    shell:
        "python workflow_scripts/join_shards.py --source {input.source:q} --target {input.target:q} "
        "--reports {input.reports:q} --shards {input.shards:q} {params.deduplicate} {params.index} "
        "--output-source {output.source:q} --output-target {output.target:q} --report {output.report:q} 2> {log:q}"
