"""The configuration as typed models: every key, its type, its default and its meaning.

``dev/document_config.py`` generates the JSON schema (``config/schema.json``) and the reference page
(``docs/configuration.md``) from the field descriptions below. Defaults are the hyperparameters of the reference on
IWSLT'14 de-en (EKD, arXiv 2605.09924).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, create_model, model_validator

from ekd_nmt.config.types import (
    Divergence,
    Files,
    Fraction,
    Name,
    PositiveInt,
    Rate,
    Seed,
    StoredTokens,
    Strict,
    TeacherMode,
)


class SyntheticCorpus(Strict):
    """The generated German-English-like corpus of the default experiment."""

    seed: Seed = Field(1, description="seed of the generator; the same seed gives byte-identical files")
    train_size: PositiveInt = Field(12000, description="training pairs")
    valid_size: PositiveInt = Field(500, description="validation pairs")
    test_size: PositiveInt = Field(1000, description="test pairs")
    lexicon: int = Field(2000, ge=200, le=20000, description="approximate number of invented lemmas")
    zipf: float = Field(1.0, ge=0, le=3, description="exponent of Zipf's law within each word class; 0 is uniform")


class Holdout(Strict):
    """Held-out splits of a corpus without splits, in whole groups of pairs that share a sentence."""

    valid_size: PositiveInt = Field(1000, description="validation pairs")
    test_size: PositiveInt = Field(1000, description="test pairs")
    seed: Seed = Field(1, description="seed of the random choice")


class LocalCorpus(Strict):
    """Your own files: each split is two aligned texts, source first, or one TSV; plain, .gz, .bz2, .xz or .zst."""

    train: Files = Field([], description="training text, required by `data.corpus: local`")
    valid: Files = Field(
        [], description="validation text; if empty, it is held out of the training text, see `data.holdout`"
    )
    test: Files = Field([], description="test text; if empty, it is held out of the training text, see `data.holdout`")
    columns: tuple[PositiveInt, PositiveInt] = Field(
        (1, 2), description="source and target column of a TSV, counted from 1"
    )


class Filter(Strict):
    """Which training and validation pairs are kept; the test set is never filtered."""

    min_tokens: PositiveInt = Field(1, description="minimum tokens on either side")
    max_tokens: PositiveInt = Field(175, description="maximum tokens on either side")
    max_ratio: float = Field(1.5, ge=1, description="maximum ratio of the two lengths, in either direction")
    min_script: Fraction | None = Field(
        None, description="minimum share of a sentence's letters that are in the script of its language; null keeps all"
    )
    other_language: float | None = Field(
        None,
        gt=0,
        le=1,
        description="drop a pair if either side is in another language with at least this probability; null keeps all",
    )

    @model_validator(mode="after")
    def _range_is_not_empty(self) -> Filter:
        if self.min_tokens > self.max_tokens:
            raise ValueError(f"min_tokens {self.min_tokens} is above max_tokens {self.max_tokens}; lower min_tokens")
        return self


class Data(Strict):
    """Where the corpus comes from and how it is prepared."""

    corpus: str = Field(
        "synthetic",
        description="`synthetic` is generated, `local` is your own; the others are listed in config/datasets.yaml",
    )
    source_lang: Name = Field("de", description="source language code")
    target_lang: Name = Field("en", description="target language code")
    lowercase: bool = Field(False, description="lowercase both sides after tokenisation; scores then ignore case")
    split_final_period: bool = Field(
        False,
        description="split the period off the last word of every sentence, even an abbreviation, as Moses' "
        "tokenizer.perl does and its Python port does not; for comparison with results of the Perl script",
    )
    mirror: str | None = Field(
        None, description="folder that is searched before downloading: `{mirror}/{dataset}/{file}`"
    )
    normalize_punctuation: bool = Field(
        False, description="first normalise punctuation and drop control characters, as Moses' scripts do"
    )
    filter: Filter = Field(Filter(), description="which training and validation pairs are kept")
    remove_overlap: bool = Field(
        True, description="drop training pairs whose source or target is also in the validation or test set"
    )
    deduplicate: bool = Field(False, description="keep only the first of equal training pairs")
    shards: PositiveInt = Field(
        1, le=9999, description="shards of the training text, prepared in parallel on several cores"
    )
    holdout: Holdout = Field(Holdout(), description="validation and test set of a corpus without splits")
    local: LocalCorpus = Field(LocalCorpus(), description="files of `corpus: local`")
    synthetic: SyntheticCorpus = Field(SyntheticCorpus(), description="options of the generated corpus")


class Bpe(Strict):
    """Byte-pair encoding, learned jointly on both sides of the training set."""

    merges: PositiveInt = Field(10000, description="number of merge operations")
    joined_dictionary: bool = Field(False, description="one dictionary for both languages instead of one each")
    sample: PositiveInt | None = Field(
        None, description="learn from about this many training pairs, evenly spaced; null learns from all"
    )
    workers: PositiveInt = Field(1, description="processes that count words and that binarise")


class Model(Strict):
    """A Transformer. Encoder and decoder have the same shape; decoder input and output embeddings are shared."""

    embed_dim: PositiveInt = Field(description="width of embeddings and layers")
    ffn_dim: PositiveInt = Field(description="inner width of the feed-forward blocks")
    heads: PositiveInt = Field(4, description="attention heads")
    layers: PositiveInt = Field(6, description="layers of the encoder and of the decoder, each")

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Model:
        if self.embed_dim % self.heads:
            raise ValueError(
                f"embed_dim {self.embed_dim} cannot be split over {self.heads} heads; make it a multiple of heads"
            )
        return self


class Validation(Strict):
    """How the best checkpoint is chosen on the validation set."""

    metric: Literal["bleu", "loss"] = Field("bleu", description="metric that selects the best checkpoint")
    beam: PositiveInt = Field(5, description="beam of the validation BLEU; 1 is faster")
    max_len_a: float = Field(1.2, ge=0, description="longest hypothesis = max_len_a x source length + max_len_b")
    max_len_b: int = Field(10, ge=0, description="see max_len_a")
    interval: PositiveInt = Field(1, description="epochs between validations; the last epoch is always validated")
    patience: int = Field(
        0, ge=0, description="stop after this many validations without improvement; 0 disables early stopping"
    )


class Training(Strict):
    """Training options of all systems; a system may override each of them."""

    max_epoch: PositiveInt = Field(30, description="epochs")
    max_update: PositiveInt | None = Field(None, description="stop after this many updates, whatever the epoch")
    optimizer: Literal["adam"] = Field("adam", description="optimizer")
    adam_betas: tuple[Rate, Rate] = Field((0.9, 0.98), description="Adam's beta 1 and beta 2")
    lr: float = Field(5e-4, gt=0, description="peak learning rate")
    lr_scheduler: Literal["inverse_sqrt"] = Field("inverse_sqrt", description="learning-rate schedule")
    warmup_updates: PositiveInt = Field(4000, description="updates of linear warm-up; 1 means none")
    warmup_init_lr: float = Field(1e-7, ge=0, description="learning rate at the start of the warm-up")
    dropout: Rate = Field(0.3, description="dropout")
    weight_decay: float = Field(1e-4, ge=0, description="weight decay")
    clip_norm: float = Field(0.0, ge=0, description="gradient norm is clipped to this; 0 disables clipping")
    label_smoothing: Rate = Field(0.1, description="label smoothing of the cross-entropy")
    max_tokens: PositiveInt = Field(4096, description="maximum tokens of either side in a batch, padding included")
    max_sentences: PositiveInt = Field(1024, description="maximum sentences in a batch")
    update_freq: PositiveInt = Field(1, description="batches whose gradients are accumulated for one update")
    gpus: PositiveInt = Field(
        1,
        description="GPUs per node of one training; the effective batch stays about the same, because update_freq or "
        "the batches shrink",
    )
    nodes: PositiveInt = Field(1, description="nodes of one training; its GPUs are gpus x nodes")
    precision: Literal["fp32", "fp16", "bf16"] = Field("fp32", description="number format; fp16 and bf16 need a GPU")
    validation: Validation = Field(Validation(), description="selection of the best checkpoint")


class Distillation(Strict):
    """The distillation objective and the teacher's distributions; a system may override all but `keep_cache`."""

    alpha: Fraction = Field(0.5, description="weight of the cross-entropy; the divergence has 1 - alpha")
    temperature: float = Field(
        1.0, gt=0, description="softmax temperature T; the divergence is multiplied by T squared"
    )
    divergence: Divergence = Field(
        "forward_kl", description="`forward_kl` is KL(teacher || student), the paper's; `reverse_kl` the other way"
    )
    teacher_mode: TeacherMode = Field(
        "cached",
        description="`cached`: the teacher's distributions are computed once and read in every epoch; `online`: they "
        "are computed for every batch",
    )
    top_k: StoredTokens = Field(
        32,
        description="most probable tokens that a cache stores for each position, and the sum of the others; `full` "
        "stores the whole vocabulary",
    )
    tail: Literal["redistribute", "bucket"] = Field(
        "redistribute",
        description="probability of the tokens outside the top k: `redistribute` it over them in proportion to the "
        "teacher's average tail, or keep it in one `bucket` for all of them",
    )
    keep_cache: bool = Field(
        True,
        description="keep the caches for later trainings; false deletes each when its last student is trained, so that "
        "a later change has to compute it again",
    )
    teacher_dropout: bool = Field(
        False,
        description="keep the teacher's dropout active while training, as the reference code does; needs "
        "`teacher_mode: online`",
    )
    teacher_seed: Literal["first", "same"] = Field(
        "first",
        description="seed of the teacher: that of the first seed for all students (one teacher serves all), or each "
        "student's own (independent replicates)",
    )


class Checkpoints(Strict):
    """How often a training saves its progress. Changing it reruns nothing."""

    every_updates: PositiveInt | None = Field(
        None, description="updates between checkpoints, also within an epoch; null: every_minutes alone decides"
    )
    every_minutes: float = Field(10.0, gt=0, description="minutes between checkpoints")


class Decoding(Strict):
    """How the test set is translated."""

    beam: PositiveInt = Field(5, description="beam size")
    lenpen: float = Field(1.0, description="length penalty; above 1 favours longer hypotheses")
    max_len_a: float = Field(1.2, ge=0, description="longest hypothesis = max_len_a x source length + max_len_b")
    max_len_b: int = Field(10, ge=0, description="see max_len_a")
    max_tokens: PositiveInt = Field(4096, description="maximum tokens in a batch, padding included")


class Cluster(Strict):
    """Limits of what jobs request from a cluster. Changing them reruns nothing."""

    request_gpus: bool = Field(
        True, description="request GPUs for training, caching and translating; false where the cluster has none"
    )
    max_runtime: PositiveInt = Field(
        1440,
        description="longest time limit that a job requests, in minutes; a longer training resumes in its next "
        "attempt. The one job that prepares a corpus requests the sum of its steps",
    )
    max_mem_mb: PositiveInt | None = Field(
        None, description="most memory that a job requests, in MB, for example what a node has; null: no limit"
    )


class Table(Strict):
    """The rows that the other rows are compared with."""

    baseline: str = Field("student", description="system of the column delta_vs_student")
    senior: str = Field("senior_teacher", description="system of the columns gap_to_senior and gap_percent")


def _optional(model: type[Strict], name: str, without: tuple[str, ...] = ()) -> Any:
    """A copy of ``model`` in which every field may be left out (None), nested models included."""
    fields: dict[str, Any] = {}
    for key, info in model.model_fields.items():
        if key in without:
            continue
        annotation: Any = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, Strict):
            annotation = _optional(annotation, f"{name}{annotation.__name__}")
        elif info.metadata:
            annotation = Annotated[annotation, *info.metadata]
        fields[key] = (annotation | None, Field(None, description=info.description))
    return create_model(name, __base__=Strict, __doc__=model.__doc__, **fields)


class System(
    _optional(Training, "TrainingOverrides"),  # type: ignore[misc]
    _optional(Distillation, "DistillationOverrides", without=("keep_cache",)),  # type: ignore[misc]
):
    """One model to train: its architecture, its teacher, its initialisation, and its own training options."""

    model: str = Field(description="name of an entry of `models`")
    teacher: str | None = Field(None, description="system it is distilled from; none: plain training")
    init: str | None = Field(
        None, description="system whose weights it starts from (optimizer and schedule start fresh); none: random"
    )
    match_updates_of: str | None = Field(
        None,
        description="train for as many epochs (and updates) as this system and all that it was initialised from have "
        "together, instead of max_epoch and max_update; early stopping of these is ignored",
    )


def overridable(section: type[Strict]) -> list[str]:
    """The keys of ``training`` or ``distillation`` that a system may set for itself."""
    return [key for key in section.model_fields if key in System.model_fields]


class Config(Strict):
    """The experiment as a whole."""

    experiment: Name = Field(description="name of the experiment; results go to results/{experiment}")
    seeds: list[Seed] = Field(
        [1],
        min_length=1,
        json_schema_extra={"uniqueItems": True},
        description="each system is trained once per seed; append new seeds at the end, see teacher_seed",
    )
    threads: PositiveInt = Field(
        1, description="threads of one training or translation; two jobs of one thread are faster than one job of two"
    )
    data: Data = Field(Data(), description="corpus")
    bpe: Bpe = Field(Bpe(), description="byte-pair encoding")
    models: dict[Name, Model] = Field(min_length=1, description="architectures by name")
    training: Training = Field(Training(), description="defaults of all systems")
    distillation: Distillation = Field(Distillation(), description="defaults of all systems that have a teacher")
    systems: dict[Name, System] = Field(min_length=1, description="what is trained, in the order of the table")
    checkpoints: Checkpoints = Field(Checkpoints(), description="how often trainings save their progress")
    cluster: Cluster = Field(Cluster(), description="what jobs request from a cluster")
    decoding: Decoding = Field(Decoding(), description="translation of the test set")
    table: Table = Field(Table(), description="reference rows of the table")
