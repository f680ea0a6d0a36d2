"""A teacher's distributions, computed once for all students and seeds that learn from it."""

from ekd_nmt.cluster.cache_size import announcement

CACHE = exp.cache_path("{system}", "{seed}", "{variant}")
# what a variant stores, as flags
VARIANTS = {
    variant: f"--top-k {k} --temperature {temperature}" for (_, _, variant), (k, temperature) in exp.caches().items()
}

# `workflow.dryrun` is set only after the rules have been read
if VARIANTS and workflow.output_settings.dryrun and workflow.is_main_process:
    print(announcement(exp, manifest), file=sys.stderr)


rule cache_teacher:
    input:
        data=exp.binarized(("train", "valid")),
        teacher=f"{RUN}/model.pt",
    output:
        cache=directory(CACHE) if exp.config.distillation.keep_cache else temp(directory(CACHE)),
        summary=f"{CACHE}.json",
    log:
        f"{RUN}/logs/cache_{{variant}}.log",
    benchmark:
        f"{RUN}/benchmarks/cache_{{variant}}.tsv"
    wildcard_constraints:
        variant="|".join(map(re.escape, VARIANTS)),
    conda:
        "../envs/nmt.yaml"
    threads: exp.config.threads
    resources:
        mem_mb=demand.memory("cache_teacher"),
        runtime=demand.runtime("cache_teacher"),
        gpu=demand.gpus("cache_teacher"),
    params:
        revision=revision("cache_teacher"),
        stored=lambda w: VARIANTS[w.variant],
        data=lambda w, input: os.path.dirname(input.data[0]),
    shell:
        "exec python workflow_scripts/cache_teacher.py --teacher {input.teacher:q} --data {params.data:q} {params.stored} "
        "--threads {threads} --output {output.cache:q} --summary {output.summary:q} 2> {log:q}"
