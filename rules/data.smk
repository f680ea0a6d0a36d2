"""From a public corpus or a user's own files to raw text in three splits: fetch; collect, unpack or generate; split."""

from ekd_nmt.cluster.resource_requests import ResourceRequests
from ekd_nmt.config.manifest import WHOLE, find_entry
from ekd_nmt.corpus.sources import collect_flags, input_files, iwslt14_archive

requests = ResourceRequests(experiment, manifest)  # resources of jobs; not parameters, so a change reruns nothing
HELD_OUT = COLLECTED == (WHOLE,)
RAW_SOURCE, RAW_TARGET = experiment.sides("raw", "{split}")
ALL_RAW = [path for split in SPLITS for path in experiment.sides("raw", split)]


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
        **requests.of("fetch"),
    params:
        revision=revision("fetch"),
        manifest="config/datasets.yaml",
        # a corrected checksum fetches the file again, another URL of the same file does not
        checksum=lambda w: (entry := find_entry(manifest, w.dataset, w.file)).sha256 or entry.md5 or "unknown",
    shell:
        "exec python workflow_scripts/fetch.py --manifest {params.manifest:q} --dataset {wildcards.dataset} "
        "--file {wildcards.file} --progress-fd 3 --output {output:q} 3>&2 2> {log:q}"


if experiment.data.corpus == "synthetic":

    rule generate:
        output:
            ALL_RAW,
            stats=experiment.data_path("raw/stats.json"),
        log:
            experiment.data_path("logs/generate.log"),
        benchmark:
            experiment.data_path("benchmarks/generate.tsv")
        conda:
            "../envs/nmt.yaml"
        threads: 1
        resources:
            **requests.of("generate"),
        params:
            revision=revision("generate"),
            folder=lambda w, output: os.path.dirname(output[0]),
            languages=LANGUAGES,
            corpus=flags(experiment.data.synthetic, "seed", "train_size", "valid_size", "test_size", "lexicon", "zipf"),
        shell:
            "python workflow_scripts/generate.py {params.corpus} {params.languages} "
            "--output-dir {params.folder:q} 2> {log:q}"

elif archive := iwslt14_archive(experiment.data, manifest):
    published = [manifest[experiment.data.corpus].pairs.get(split) for split in SPLITS]

    rule unpack_iwslt14:
        input:
            archive,
        output:
            ALL_RAW,
            stats=experiment.data_path("raw/stats.json"),
        log:
            experiment.data_path("logs/unpack_iwslt14.log"),
        benchmark:
            experiment.data_path("benchmarks/unpack_iwslt14.tsv")
        conda:
            "../envs/nmt.yaml"
        threads: 1
        resources:
            **requests.of("unpack_iwslt14"),
        params:
            revision=revision("unpack_iwslt14"),
            folder=lambda w, output: os.path.dirname(output[0]),
            languages=LANGUAGES,
            # every 23rd of the pairs that these options keep is held out, so they are those of prepare
            final_period=FINAL_PERIOD,
            filter=length_filter("train"),
            published_sizes=f"--expect {' '.join(map(str, published))}" if all(published) else "",
        shell:
            "python workflow_scripts/unpack_iwslt14.py --archive {input:q} {params.languages} {params.final_period} "
            "{params.filter} {params.published_sizes} --output-dir {params.folder:q} 2> {log:q}"

else:

    rule collect:
        input:
            lambda w: input_files(experiment.data, manifest, w.split),
        output:
            source=temp(RAW_SOURCE) if HELD_OUT else RAW_SOURCE,
            target=temp(RAW_TARGET) if HELD_OUT else RAW_TARGET,
            report=experiment.data_path("raw/{split}.json"),
        log:
            experiment.data_path("logs/collect.{split}.log"),
        benchmark:
            experiment.data_path("benchmarks/collect.{split}.tsv")
        wildcard_constraints:
            split="|".join(COLLECTED),
        conda:
            "../envs/nmt.yaml"
        threads: 1
        resources:
            **requests.of("collect"),
        params:
            revision=revision("collect"),
            languages=LANGUAGES,
            split=lambda w: "" if w.split == WHOLE else f"--split {w.split}",
            texts=lambda w: collect_flags(experiment.data, manifest, w.split),
        shell:
            "python workflow_scripts/collect.py {params.languages} {params.split} {params.texts} "
            "--output-source {output.source:q} --output-target {output.target:q} --report {output.report:q} 2> {log:q}"

    if HELD_OUT:

        rule split:
            input:
                source=experiment.sides("raw", "all")[0],
                target=experiment.sides("raw", "all")[1],
            output:
                ALL_RAW,
                stats=experiment.data_path("raw/stats.json"),
            log:
                experiment.data_path("logs/split.log"),
            benchmark:
                experiment.data_path("benchmarks/split.tsv")
            conda:
                "../envs/nmt.yaml"
            threads: 1
            resources:
                **requests.of("split"),
            params:
                revision=revision("split"),
                folder=lambda w, output: os.path.dirname(output[0]),
                languages=LANGUAGES,
                sizes=flags(experiment.data.holdout, "valid_size", "test_size", "seed"),
            shell:
                "python workflow_scripts/split.py --source {input.source:q} --target {input.target:q} "
                "{params.languages} {params.sizes} --output-dir {params.folder:q} 2> {log:q}"
