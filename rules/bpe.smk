"""Byte-pair encoding, learned on both sides of the training set together, and binarisation."""


rule learn_bpe:
    input:
        experiment.sides("tok", "train"),
    output:
        experiment.data_path("bpe.codes"),
    log:
        experiment.data_path("logs/learn_bpe.log"),
    benchmark:
        experiment.data_path("benchmarks/learn_bpe.tsv")
    conda:
        "../envs/nmt.yaml"
    threads: experiment.config.bpe.workers
    resources:
        **requests.of("learn_bpe"),
    params:
        revision=revision("learn_bpe"),
        merges=flags(experiment.config.bpe, "merges"),
        sample=flags(experiment.config.bpe, "sample") if experiment.config.bpe.sample else "",
    shell:
        "python workflow_scripts/learn_bpe.py --input {input:q} {params.merges} {params.sample} "
        "--workers {threads} --output {output:q} 2> {log:q}"


rule apply_bpe:
    input:
        codes=experiment.data_path("bpe.codes"),
        source=experiment.sides("tok", "{split}")[0],
        target=experiment.sides("tok", "{split}")[1],
    output:
        source=experiment.sides("bpe", "{split}")[0],
        target=experiment.sides("bpe", "{split}")[1],
        report=experiment.data_path("bpe/{split}.json"),
    log:
        experiment.data_path("logs/apply_bpe.{split}.log"),
    benchmark:
        experiment.data_path("benchmarks/apply_bpe.{split}.tsv")
    wildcard_constraints:
        split="valid|test",
    conda:
        "../envs/nmt.yaml"
    threads: 1
    resources:
        **requests.of("apply_bpe"),
    params:
        revision=revision("apply_bpe"),
        text=lambda w: f"--split {w.split}",
        languages=LANGUAGES,
    shell:
        "python workflow_scripts/apply_bpe.py --codes {input.codes:q} --source {input.source:q} "
        "--target {input.target:q} {params.text} {params.languages} "
        "--output-source {output.source:q} --output-target {output.target:q} --report {output.report:q} 2> {log:q}"


use rule apply_bpe as apply_bpe_shard with:
    input:
        codes=experiment.data_path("bpe.codes"),
        source=experiment.sides("tok", "train")[0],
        target=experiment.sides("tok", "train")[1],
        shards=experiment.data_path("tok/train.shards.json"),
    output:
        source=temp(experiment.shard("bpe", "{shard}", experiment.data.source_lang)),
        target=temp(experiment.shard("bpe", "{shard}", experiment.data.target_lang)),
        report=temp(experiment.shard("bpe", "{shard}", "json")),
    log:
        experiment.data_path("logs/apply_bpe/{shard}.log"),
    benchmark:
        experiment.data_path("benchmarks/apply_bpe/{shard}.tsv")
    resources:
        **requests.of("apply_bpe_shard"),
    params:
        text=lambda w, input: f"--split train --shards {input.shards} --shard {w.shard}",


use rule join_shards as join_bpe_shards with:
    input:
        source=experiment.shards("bpe", experiment.data.source_lang),
        target=experiment.shards("bpe", experiment.data.target_lang),
        reports=experiment.shards("bpe", "json"),
        shards=experiment.data_path("tok/train.shards.json"),
    output:
        source=experiment.sides("bpe", "train")[0],
        target=experiment.sides("bpe", "train")[1],
        report=experiment.data_path("bpe/train.json"),
    log:
        experiment.data_path("logs/join_bpe_shards.log"),
    benchmark:
        experiment.data_path("benchmarks/join_bpe_shards.tsv")
    resources:
        **requests.of("join_bpe_shards"),
    params:
        deduplicate="",
        index="",


rule binarize:
    input:
        [path for split in SPLITS for path in experiment.sides("bpe", split)],
    output:
        experiment.binarized(),
        report=experiment.data_path("binarize.json"),
    log:
        experiment.data_path("logs/binarize.log"),
    benchmark:
        experiment.data_path("benchmarks/binarize.tsv")
    conda:
        "../envs/nmt.yaml"
    threads: min(experiment.config.bpe.workers, 2)
    resources:
        **requests.of("binarize"),
    params:
        revision=revision("binarize"),
        bpe=lambda w, input: os.path.dirname(input[0]),
        folder=lambda w, output: os.path.dirname(output[0]),
        languages=LANGUAGES,
        joined="--joined-dictionary" if experiment.config.bpe.joined_dictionary else "",
    shell:
        "python workflow_scripts/binarize.py --bpe-dir {params.bpe:q} {params.languages} {params.joined} "
        "--workers {threads} --output-dir {params.folder:q} --report {output.report:q} 2> {log:q}"
