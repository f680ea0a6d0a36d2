"""A teacher's output distributions, computed once for all students and seeds that learn from it."""

from ekd_nmt.cluster.cache_size import announcement

CACHE = experiment.cache_path("{system}", "{seed}", "{variant}")
# variant of a cache → flags for what it stores
VARIANTS = {
    variant: f"--top-k {k} --temperature {temperature}"
    for (_, _, variant), (k, temperature) in experiment.caches().items()
}

# `workflow.dryrun` is not set before the rules are read
if VARIANTS and workflow.output_settings.dryrun and workflow.is_main_process:
    print(announcement(experiment, requests.corpus), file=sys.stderr)


rule cache_teacher:
    input:
        data=experiment.binarized(("train", "valid")),
        teacher=f"{RUN}/model.pt",
    output:
        cache=directory(CACHE) if experiment.config.distillation.keep_cache else temp(directory(CACHE)),
        summary=f"{CACHE}.json",
    log:
        f"{RUN}/logs/cache_{{variant}}.log",
    benchmark:
        f"{RUN}/benchmarks/cache_{{variant}}.tsv"
    wildcard_constraints:
        variant="|".join(map(re.escape, VARIANTS)),
    conda:
        "../envs/nmt.yaml"
    threads: experiment.config.threads
    resources:
        **requests.of("cache_teacher"),
    params:
        revision=revision("cache_teacher"),
        stored=lambda w: VARIANTS[w.variant],
        data=lambda w, input: os.path.dirname(input.data[0]),
    shell:
        "exec python workflow_scripts/cache_teacher.py --teacher {input.teacher:q} --data {params.data:q} {params.stored} "
        "--threads {threads} --output {output.cache:q} --summary {output.summary:q} 2> {log:q}"
