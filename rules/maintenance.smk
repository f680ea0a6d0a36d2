"""Rules that a user requests by name."""


localrules:
    clean_stale,


# Removes unfinished work that no job of this configuration would resume. `make help` lists its options.
rule clean_stale:
    log:
        f"{experiment.root}/logs/clean_stale.log",
    conda:
        "../envs/nmt.yaml"
    threads: 1
    params:
        config=json.dumps(config),
        flags=os.environ.get("EKD_CLEAN_STALE", ""),
    shell:
        "python workflow_scripts/clean_stale.py --config {params.config:q} {params.flags} 2>&1 | tee {log:q}"
