"""From a data set to aligned, tokenised text: fetch, unpack and pair (or generate), tokenise, lowercase, filter."""

from fetch import find_entry, load_manifest

MANIFEST = "config/datasets.yaml"
manifest = load_manifest(f"{workflow.basedir}/{MANIFEST}")

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
    params:
        manifest=MANIFEST,
        # a corrected checksum fetches the file anew, another address of the same file does not
        sha256=lambda w: find_entry(manifest, w.dataset, w.file).sha256 or "unknown",
    shell:
        "python workflow_scripts/fetch.py --manifest {params.manifest:q} "
        "--dataset {wildcards.dataset} --file {wildcards.file} --output {output:q} 2> {log:q}"


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
        params:
            folder=lambda w, output: os.path.dirname(output[0]),
            languages=LANGUAGES,
            corpus=flags(exp.data.synthetic, "seed", "train_size", "valid_size", "test_size", "lexicon", "zipf"),
        shell:
            "python workflow_scripts/generate.py {params.corpus} {params.languages} "
            "--output-dir {params.folder:q} 2> {log:q}"


if exp.data.corpus == "multi30k":

    MULTI30K = {"train": "train", "valid": "val", "test": "test_2016_flickr"}

    rule pair:
        input:
            source=lambda w: f"resources/multi30k/{MULTI30K[w.split]}.{exp.data.source_lang}.gz",
            target=lambda w: f"resources/multi30k/{MULTI30K[w.split]}.{exp.data.target_lang}.gz",
        output:
            source=RAW_SOURCE,
            target=RAW_TARGET,
        log:
            exp.data_path("logs/pair.{split}.log"),
        benchmark:
            exp.data_path("benchmarks/pair.{split}.tsv")
        conda:
            "../envs/nmt.yaml"
        threads: 1
        shell:
            "python workflow_scripts/pair.py --source {input.source:q} --target {input.target:q} "
            "--output-source {output.source:q} --output-target {output.target:q} 2> {log:q}"


if exp.data.corpus == "iwslt14":

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
        params:
            folder=lambda w, output: os.path.dirname(output[0]),
            languages=LANGUAGES,
            # every 23rd of the pairs that these options keep is held out, so they are those of prepare
            final_period=FINAL_PERIOD,
            filter=length_filter("train"),
            published_sizes="160239 7283 6750",
        shell:
            "python workflow_scripts/unpack_iwslt14.py --archive {input:q} {params.languages} {params.final_period} "
            "{params.filter} --expect {params.published_sizes} --output-dir {params.folder:q} 2> {log:q}"


rule prepare:
    input:
        source=RAW_SOURCE,
        target=RAW_TARGET,
    output:
        source=exp.sides("tok", "{split}")[0],
        target=exp.sides("tok", "{split}")[1],
        report=exp.data_path("tok/{split}.json"),
    log:
        exp.data_path("logs/prepare.{split}.log"),
    benchmark:
        exp.data_path("benchmarks/prepare.{split}.tsv")
    conda:
        "../envs/nmt.yaml"
    threads: 1
    params:
        languages=LANGUAGES,
        lowercase="--lowercase" if exp.data.lowercase else "",
        final_period=FINAL_PERIOD,
        filter=lambda w: length_filter(w.split),
    shell:
        "python workflow_scripts/prepare.py --source {input.source:q} --target {input.target:q} "
        "{params.languages} {params.lowercase} {params.final_period} {params.filter} "
        "--output-source {output.source:q} --output-target {output.target:q} --report {output.report:q} 2> {log:q}"
