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
    threads: 1
    params:
        merges=exp.config.bpe.merges,
    shell:
        "python workflow_scripts/learn_bpe.py --input {input:q} --merges {params.merges} --output {output:q} 2> {log:q}"


rule apply_bpe:
    input:
        codes=exp.data_path("bpe.codes"),
        text=[path for split in SPLITS for path in exp.sides("tok", split)],
    output:
        [path for split in SPLITS for path in exp.sides("bpe", split)],
    log:
        exp.data_path("logs/apply_bpe.log"),
    benchmark:
        exp.data_path("benchmarks/apply_bpe.tsv")
    conda:
        "../envs/nmt.yaml"
    threads: 1
    shell:
        "python workflow_scripts/apply_bpe.py --codes {input.codes:q} --input {input.text:q} --output {output:q} 2> {log:q}"


rule binarize:
    input:
        [path for split in SPLITS for path in exp.sides("bpe", split)],
    output:
        exp.binarized(),
    log:
        exp.data_path("logs/binarize.log"),
    benchmark:
        exp.data_path("benchmarks/binarize.tsv")
    conda:
        "../envs/nmt.yaml"
    threads: 1
    params:
        bpe=lambda w, input: os.path.dirname(input[0]),
        folder=lambda w, output: os.path.dirname(output[0]),
        languages=LANGUAGES,
        joined="--joined-dictionary" if exp.config.bpe.joined_dictionary else "",
    shell:
        "python workflow_scripts/binarize.py --bpe-dir {params.bpe:q} {params.languages} {params.joined} "
        "--workers {threads} --output-dir {params.folder:q} 2> {log:q}"
