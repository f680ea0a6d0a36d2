"""One rule trains every system; who teaches it and what it starts from are input files."""


rule train:
    input:
        data=exp.binarized(("train", "valid")),
        # its file also when a cache is read: the cache is compared with it
        teacher=lambda w: exp.teacher_file(w.system, int(w.seed)) or [],
        cache=lambda w: exp.teacher_cache(w.system, int(w.seed)) or [],
        init=lambda w: exp.init_file(w.system, int(w.seed)) or [],
    output:
        model=f"{RUN}/model.pt",
        summary=f"{RUN}/train.json",
        config=f"{RUN}/config.json",
        history=f"{RUN}/training.jsonl",
    log:
        f"{RUN}/logs/train.log",
    benchmark:
        f"{RUN}/benchmarks/train.tsv"
    conda:
        "../envs/nmt.yaml"
    threads: demand.threads
    resources:
        mem_mb=demand.memory("train"),
        runtime=demand.runtime("train"),
        gpu=demand.gpus("train"),
        nodes=demand.nodes,
        mpi=demand.on_several_nodes("srun"),
        tasks=demand.on_several_nodes(int),
        tasks_per_gpu=demand.on_several_nodes(0),
    params:
        revision=revision("train"),
        # the resolved options of this system alone, so that no other system's options make it run again
        options=lambda w: json.dumps(exp.options(w.system), sort_keys=True),
        data=lambda w, input: os.path.dirname(input.data[0]),
        teacher=lambda w, input: optional_flag("--teacher", input.teacher),
        cache=lambda w, input: optional_flag("--teacher-cache", input.cache),
        init=lambda w, input: optional_flag("--init", input.init),
        folder=lambda w, output: os.path.dirname(output.model),
    shell:
        "exec python workflow_scripts/train.py --options {params.options:q} --data {params.data:q} --seed {wildcards.seed} "
        "{params.teacher} {params.cache} {params.init} --threads {threads} --output {params.folder:q} 2> {log:q}"
