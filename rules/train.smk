"""One rule trains every system; its teacher and its initial model are input files."""


rule train:
    input:
        data=experiment.binarized(("train", "valid")),
        # also with a cache, which is checked against the teacher's file
        teacher=lambda w: experiment.teacher_file(w.system, int(w.seed)) or [],
        cache=lambda w: experiment.teacher_cache(w.system, int(w.seed)) or [],
        init=lambda w: experiment.init_file(w.system, int(w.seed)) or [],
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
    threads: requests.threads
    resources:
        **requests.of("train"),
        nodes=requests.nodes,
        mpi=requests.on_several_nodes("srun"),
        tasks=requests.on_several_nodes(int),
        tasks_per_gpu=requests.on_several_nodes(0),
    params:
        revision=revision("train"),
        # resolved options of this system alone, so that other systems' options do not rerun it
        options=lambda w: json.dumps(experiment.options(w.system), sort_keys=True),
        data=lambda w, input: os.path.dirname(input.data[0]),
        teacher=lambda w, input: optional_flag("--teacher", input.teacher),
        cache=lambda w, input: optional_flag("--teacher-cache", input.cache),
        init=lambda w, input: optional_flag("--init", input.init),
        folder=lambda w, output: os.path.dirname(output.model),
    shell:
        "exec python workflow_scripts/train.py --options {params.options:q} --data {params.data:q} --seed {wildcards.seed} "
        "{params.teacher} {params.cache} {params.init} --threads {threads} --output {params.folder:q} 2> {log:q}"
