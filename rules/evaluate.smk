"""Translation of the test set by every model, and its scores."""


rule translate:
    input:
        model=f"{RUN}/model.pt",
        data=experiment.binarized(("test",)),
        source=experiment.sides("raw", "test")[0],
        reference=experiment.sides("raw", "test")[1],
    output:
        f"{RUN}/test.hyp.jsonl",
    log:
        f"{RUN}/logs/translate.log",
    benchmark:
        f"{RUN}/benchmarks/translate.tsv"
    conda:
        "../envs/nmt.yaml"
    threads: experiment.config.threads
    resources:
        **requests.of("translate"),
    params:
        revision=revision("translate"),
        data=lambda w, input: os.path.dirname(input.data[0]),
        target_lang=experiment.data.target_lang,
        search=flags(experiment.config.decoding, "beam", "lenpen", "max_len_a", "max_len_b", "max_tokens"),
    shell:
        "exec python workflow_scripts/translate.py --model {input.model:q} --data {params.data:q} --split test "
        "--source {input.source:q} --reference {input.reference:q} --target-lang {params.target_lang} "
        "{params.search} --threads {threads} --output {output:q} 2> {log:q}"


rule score:
    input:
        hypotheses=f"{RUN}/test.hyp.jsonl",
        reference=experiment.sides("tok", "test")[1],
    output:
        scores=f"{RUN}/scores.json",
        examples=f"{RUN}/examples.txt",
    log:
        f"{RUN}/logs/score.log",
    benchmark:
        f"{RUN}/benchmarks/score.tsv"
    conda:
        "../envs/nmt.yaml"
    threads: 1
    resources:
        **requests.of("score"),
    params:
        revision=revision("score"),
        lowercase="--lowercase" if experiment.data.lowercase else "",
    shell:
        "python workflow_scripts/score.py --hypotheses {input.hypotheses:q} --tokenized-reference {input.reference:q} "
        "{params.lowercase} --output {output.scores:q} --examples {output.examples:q} 2> {log:q}"
