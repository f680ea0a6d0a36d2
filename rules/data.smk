"""From a data set, or a user's own files, to raw text in three splits: fetch, collect or unpack or generate, split."""

from ekd_nmt.cluster.resource_requests import Demand
from ekd_nmt.corpus.manifest import find_entry, load_manifest
from ekd_nmt.corpus.sources import WHOLE, check_local_files, collect_flags, input_files

MANIFEST = "config/datasets.yaml"
manifest = load_manifest(f"{workflow.basedir}/{MANIFEST}")
try:
    check_local_files(exp.data)
except UserError as error:
    stop(error)

demand = Demand(exp, manifest)  # what jobs ask a cluster for; no parameter, so that a change makes nothing run again
RAW_SOURCE, RAW_TARGET = exp.sides("raw", "{split}")
ALL_RAW = [path for split in SPLITS for path in exp.sides("raw", split)]


rule fetch:
    output:
        "resources/{dataset}/{file}",
    log:
        "resources/{dataset}/logs/{file}.log",
    benchmark:
        "resources/{dataset}/benchmarks/{file}.tsv"
    wildcard_constraints:
        dataset="|".join(map(re.escape, manifest)),
        file="|".join(re.escape(file.name) for dataset in manifest.values() for file in dataset.files),
    conda:
        "../envs/nmt.yaml"
    threads: 1
    resources:
        mem_mb=demand.memory("fetch"),
        runtime=demand.runtime("fetch"),
    params:
        revision=revision("fetch"),
        manifest=MANIFEST,
        # a corrected checksum fetches the file anew, another address of the same file does not
        checksum=lambda w: (entry := find_entry(manifest, w.dataset, w.file)).sha256 or entry.md5 or "unknown",
    shell:
        "exec python workflow_scripts/fetch.py --manifest {params.manifest:q} --dataset {wildcards.dataset} "
        "--file {wildcards.file} --progress-fd 3 --output {output:q} 3>&2 2> {log:q}"


if exp.data.corpus == "synthetic":

    rule generate:
        output:
            ALL_RAW,
            stats=exp.data_path("raw/stats.json"),
        log:
            exp.data_path("logs/generate.log"),
        benchmark:
            exp.data_path("benchmarks/generate.tsv")
        conda:
            "../envs/nmt.yaml"
        threads: 1
        resources:
            mem_mb=demand.memory("generate"),
            runtime=demand.runtime("generate"),
        params:
            revision=revision("generate"),
            folder=lambda w, output: os.path.dirname(output[0]),
            languages=LANGUAGES,
            corpus=flags(exp.data.synthetic, "seed", "train_size", "valid_size", "test_size", "lexicon", "zipf"),
        shell:
            "python workflow_scripts/generate.py {params.corpus} {params.languages} "
            "--output-dir {params.folder:q} 2> {log:q}"

elif exp.data.corpus == "iwslt14":

    rule unpack_iwslt14:
        input:
            "resources/iwslt14/de-en.tgz",
        output:
            ALL_RAW,
            stats=exp.data_path("raw/stats.json"),
        log:
            exp.data_path("logs/unpack_iwslt14.log"),
        benchmark:
            exp.data_path("benchmarks/unpack_iwslt14.tsv")
        conda:
            "../envs/nmt.yaml"
        threads: 1
        resources:
            mem_mb=demand.memory("unpack_iwslt14"),
            runtime=demand.runtime("unpack_iwslt14"),
        params:
            revision=revision("unpack_iwslt14"),
            folder=lambda w, output: os.path.dirname(output[0]),
            languages=LANGUAGES,
            # every 23rd of the pairs that these options keep is held out, so they are those of prepare
            final_period=FINAL_PERIOD,
            filter=length_filter("train"),
            published_sizes=" ".join(str(manifest["iwslt14"].pairs[split]) for split in SPLITS),
        shell:
            "python workflow_scripts/unpack_iwslt14.py --archive {input:q} {params.languages} {params.final_period} "
            "{params.filter} --expect {params.published_sizes} --output-dir {params.folder:q} 2> {log:q}"

else:

    rule collect:
        input:
            lambda w: input_files(exp.data, manifest, w.split),
        output:
            source=temp(RAW_SOURCE) if is_held_out(exp.data) else RAW_SOURCE,
            target=temp(RAW_TARGET) if is_held_out(exp.data) else RAW_TARGET,
            report=exp.data_path("raw/{split}.json"),
        log:
            exp.data_path("logs/collect.{split}.log"),
        benchmark:
            exp.data_path("benchmarks/collect.{split}.tsv")
        wildcard_constraints:
            split="|".join(collected(exp.data)),
        conda:
            "../envs/nmt.yaml"
        threads: 1
        resources:
            mem_mb=demand.memory("collect"),
            runtime=demand.runtime("collect"),
        params:
            revision=revision("collect"),
            languages=LANGUAGES,
            split=lambda w: "" if w.split == WHOLE else f"--split {w.split}",
            parts=lambda w: collect_flags(exp.data, manifest, w.split),
        shell:
            "python workflow_scripts/collect.py {params.languages} {params.split} {params.parts} "
            "--output-source {output.source:q} --output-target {output.target:q} --report {output.report:q} 2> {log:q}"

    if is_held_out(exp.data):

        rule split:
            input:
                source=exp.sides("raw", "all")[0],
                target=exp.sides("raw", "all")[1],
            output:
                ALL_RAW,
                stats=exp.data_path("raw/stats.json"),
            log:
                exp.data_path("logs/split.log"),
            benchmark:
                exp.data_path("benchmarks/split.tsv")
            conda:
                "../envs/nmt.yaml"
            threads: 1
            resources:
                mem_mb=demand.memory("split"),
                runtime=demand.runtime("split"),
            params:
                revision=revision("split"),
                folder=lambda w, output: os.path.dirname(output[0]),
                languages=LANGUAGES,
                sizes=flags(exp.data.holdout, "valid_size", "test_size", "seed"),
            shell:
                "python workflow_scripts/split.py --source {input.source:q} --target {input.target:q} "
                "{params.languages} {params.sizes} --output-dir {params.folder:q} 2> {log:q}"
