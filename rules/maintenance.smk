"""What is asked for by hand, and no part of the table."""


localrules:
    clean_stale,


# Removes unfinished work from which no job of this configuration would resume; see `make clean-stale`.
rule clean_stale:
    log:
        f"{exp.root}/logs/clean_stale.log",
    conda:
        "../envs/nmt.yaml"
    threads: 1
    params:
        config=json.dumps(config),
        flags=os.environ.get("EKD_CLEAN_STALE", ""),
    shell:
        "python workflow_scripts/clean_stale.py --config {params.config:q} {params.flags} 2>&1 | tee {log:q}"
