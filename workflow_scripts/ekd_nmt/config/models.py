"""The configuration as typed models: every key a user may write, its type, its default and what it means.

The JSON schema (``config/schema.json``) and the reference page (``docs/configuration.md``) are generated from the
field descriptions below, so they cannot drift apart. Defaults are the hyperparameters of the reference, on IWSLT'14
de-en (EKD, arXiv 2605.09924).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, create_model, model_validator

from ekd_nmt.config.cluster import Cluster
from ekd_nmt.config.types import Files, Fraction, Name, PositiveInt, Rate, Seed, StoredTokens, Strict, TeacherMode


class SyntheticCorpus(Strict):
    """The generated German-English-like corpus of the default experiment."""

    seed: Seed = Field(1, description="seed of the generator; the same seed gives byte-identical files")
    train_size: PositiveInt = Field(12000, description="training pairs")
    valid_size: PositiveInt = Field(500, description="validation pairs")
    test_size: PositiveInt = Field(1000, description="test pairs")
    lexicon: int = Field(2000, ge=200, le=20000, description="invented lemmas, about")
    zipf: float = Field(1.0, ge=0, le=3, description="exponent of Zipf's law within each kind of word; 0 is uniform")


class Holdout(Strict):
    """What is held out of a corpus that comes without a split: whole groups of pairs that share a sentence."""

    valid_size: PositiveInt = Field(1000, description="validation pairs")
    test_size: PositiveInt = Field(1000, description="test pairs")
    seed: Seed = Field(1, description="seed of the choice")


class LocalCorpus(Strict):
    """Your own files: each split is two aligned texts, source first, or one TSV; plain, .gz, .xz or .zst."""

    train: Files = Field([], description="training text; the files of `data.corpus: local`")
    valid: Files = Field([], description="validation text; without it, `data.holdout` takes it from the training text")
    test: Files = Field([], description="test text; without it, `data.holdout` takes it from the training text")
    columns: tuple[PositiveInt, PositiveInt] = Field((1, 2), description="of a TSV: source and target column, from 1")


class Filter(Strict):
    """Which training and validation pairs are kept; the test set is never cut."""

    min_tokens: PositiveInt = Field(1, description="fewest tokens of either side")
    max_tokens: PositiveInt = Field(175, description="most tokens of either side")
    max_ratio: float = Field(1.5, ge=1, description="largest ratio of the two lengths, in either direction")
    min_script: Fraction | None = Field(
        None, description="least share of a sentence's letters that are in the script of its language; null keeps all"
    )
    other_language: float | None = Field(
        None,
        gt=0,
        le=1,
        description="drop a pair if a side is in another language with at least this probability; null keeps all",
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
        description="split the period off the last word of every sentence, an abbreviation's too, as Moses' "
        "tokenizer.perl does and its Python port does not; for comparing with results of the Perl script",
    )
    mirror: str | None = Field(
        None, description="folder searched for downloads before the network: `{mirror}/{dataset}/{file}`"
    )
    normalize_punctuation: bool = Field(
        False, description="normalise punctuation and drop control characters first, as Moses' scripts do"
    )
    filter: Filter = Field(Filter(), description="which training and validation pairs are kept")
    remove_overlap: bool = Field(
        True, description="drop training pairs whose source or target is also in the validation or test set"
    )
    deduplicate: bool = Field(False, description="keep only the first of equal training pairs")
    shards: PositiveInt = Field(
        1, le=9999, description="parts that the training text is prepared in; several cores share them"
    )
    holdout: Holdout = Field(Holdout(), description="validation and test set of a corpus that comes without them")
    local: LocalCorpus = Field(LocalCorpus(), description="files of `corpus: local`")
    synthetic: SyntheticCorpus = Field(SyntheticCorpus(), description="options of the generated corpus")


class Bpe(Strict):
    """Byte-pair encoding, learned jointly on both sides of the training set."""

    merges: PositiveInt = Field(10000, description="number of merge operations")
    joined_dictionary: bool = Field(False, description="one dictionary for both languages instead of one each")
    sample: PositiveInt | None = Field(
        None, description="learn from about so many training pairs, evenly spread; null is all of them"
    )
    workers: PositiveInt = Field(1, description="processes that count words for learning, and that binarise")


class Model(Strict):
    """A Transformer; encoder and decoder have the same shape, decoder input and output embeddings are shared."""

    embed_dim: PositiveInt = Field(description="width of embeddings and layers")
    ffn_dim: PositiveInt = Field(description="inner width of the feed-forward blocks")
    heads: PositiveInt = Field(4, description="attention heads")
    layers: PositiveInt = Field(6, description="layers of the encoder, and of the decoder")

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Model:
        if self.embed_dim % self.heads:
            raise ValueError(
                f"embed_dim {self.embed_dim} cannot be split over {self.heads} heads; make it a multiple of heads"
            )
        return self


class Validation(Strict):
    """How the best checkpoint is chosen on the validation set."""

    metric: Literal["bleu", "loss"] = Field("bleu", description="what makes a checkpoint the best one")
    beam: PositiveInt = Field(5, description="beam of the validation BLEU; 1 is faster")
    max_len_a: float = Field(1.2, ge=0, description="longest hypothesis = max_len_a x source length + max_len_b")
    max_len_b: int = Field(10, ge=0, description="see max_len_a")
    interval: PositiveInt = Field(1, description="epochs between two validations; the last epoch is always validated")
    patience: int = Field(0, ge=0, description="stop after so many validations without a new best; 0 never stops early")


class Training(Strict):
    """Training options; those under `training` hold for all systems, a system may override each."""

    max_epoch: PositiveInt = Field(30, description="epochs")
    max_update: PositiveInt | None = Field(None, description="stop after so many updates, whatever the epoch")
    optimizer: Literal["adam"] = Field("adam", description="optimizer")
    adam_betas: tuple[Rate, Rate] = Field((0.9, 0.98), description="Adam's beta 1 and 2")
    lr: float = Field(5e-4, gt=0, description="peak learning rate")
    lr_scheduler: Literal["inverse_sqrt"] = Field("inverse_sqrt", description="learning-rate schedule")
    warmup_updates: PositiveInt = Field(4000, description="updates of linear warm-up; 1 is none")
    warmup_init_lr: float = Field(1e-7, ge=0, description="learning rate the warm-up starts from")
    dropout: Rate = Field(0.3, description="dropout")
    weight_decay: float = Field(1e-4, ge=0, description="weight decay")
    clip_norm: float = Field(0.0, ge=0, description="gradient norm is clipped to this; 0 clips nothing")
    label_smoothing: Rate = Field(0.1, description="label smoothing of the cross-entropy")
    max_tokens: PositiveInt = Field(4096, description="most tokens of either side in a batch, padding included")
    max_sentences: PositiveInt = Field(1024, description="most sentences in a batch")
    update_freq: PositiveInt = Field(1, description="batches whose gradients are added up to one update")
    gpus: PositiveInt = Field(
        1,
        description="GPUs of one training, on each node; an update stays about as large, update_freq or batches shrink",
    )
    nodes: PositiveInt = Field(1, description="nodes of one training, which multiply its GPUs")
    precision: Literal["fp32", "fp16", "bf16"] = Field("fp32", description="number format; the short ones need a GPU")
    validation: Validation = Field(Validation(), description="choice of the best checkpoint")


class Distillation(Strict):
    """The distillation objective, and how it gets the teacher's part; a system may override all but `keep_cache`."""

    alpha: Fraction = Field(0.5, description="weight of the cross-entropy; the divergence has 1 - alpha")
    temperature: float = Field(
        1.0, gt=0, description="softmax temperature T; the divergence is multiplied by T squared"
    )
    divergence: Literal["forward_kl", "reverse_kl"] = Field(
        "forward_kl", description="`forward_kl` is KL(teacher || student), the paper's; `reverse_kl` the other way"
    )
    teacher: TeacherMode = Field(
        "cached",
        description="`cached`: its distributions are computed once and then read in every epoch; `online`: they are "
        "computed for every batch; a system's own choice is its `teacher_mode`",
    )
    k: StoredTokens = Field(
        32,
        description="most probable tokens that a cache stores for each position, and all others as one sum; `full` "
        "stores the whole vocabulary, for small ones",
    )
    tail: Literal["spread", "event"] = Field(
        "spread",
        description="what is made of the probability of all tokens but the k: `spread` over them in the proportions of "
        "the teacher's average tail, or one `event`, any of them",
    )
    keep_cache: bool = Field(
        True,
        description="keep the caches for later trainings; false deletes each when the last of its students is trained, "
        "at a price that docs/configuration.md tells",
    )
    teacher_dropout: bool = Field(
        False,
        description="keep the teacher's dropout active while training, as the reference's code does; needs an online "
        "teacher",
    )
    teacher_seed: Literal["first", "same"] = Field(
        "first",
        description="which teacher a student of another seed learns from: the first seed's (one teacher serves all) "
        "or its own seed's (independent replicates)",
    )


class Checkpoints(Strict):
    """How much of a training a kill may cost; no part of what a system is trained with, so a change trains nothing."""

    updates: PositiveInt | None = Field(
        None, description="updates after which a training saves its progress, within an epoch too; null: by time alone"
    )
    minutes: float = Field(10.0, gt=0, description="the same, in minutes")


class Decoding(Strict):
    """How the test set is translated."""

    beam: PositiveInt = Field(5, description="beam of the test translations")
    lenpen: float = Field(1.0, description="length penalty; above 1 favours longer hypotheses")
    max_len_a: float = Field(1.2, ge=0, description="longest hypothesis = max_len_a x source length + max_len_b")
    max_len_b: int = Field(10, ge=0, description="see max_len_a")
    max_tokens: PositiveInt = Field(4096, description="most tokens in a batch, padding included")


class Table(Strict):
    """The rows other rows are compared with."""

    baseline: str = Field("student", description="system of the column delta_vs_student")
    senior: str = Field("senior_teacher", description="system of the columns gap_to_senior and gap_percent")


def _optional(model: type[Strict], name: str, without: tuple[str, ...] = ()) -> Any:
    """A copy of ``model`` in which every field may be left out (None), nested models included."""
    fields: dict[str, Any] = {}
    for key, info in model.model_fields.items():
        if key in without:
            continue
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, Strict):
            annotation = _optional(annotation, f"{name}{annotation.__name__}")
        elif info.metadata:
            annotation = Annotated[annotation, *info.metadata]
        fields[key] = (annotation | None, Field(None, description=info.description))
    return create_model(name, __base__=Strict, __doc__=model.__doc__, **fields)


class System(
    _optional(Training, "TrainingOverrides"),  # type: ignore[misc]
    _optional(Distillation, "DistillationOverrides", without=("teacher", "keep_cache")),  # type: ignore[misc]
):
    """One model to train: its architecture, its teacher, what it starts from, and any training option of its own."""

    model: str = Field(description="name of an entry of `models`")
    teacher: str | None = Field(None, description="system it is distilled from; none: plain training")
    teacher_mode: TeacherMode | None = Field(None, description="`distillation.teacher` of this system alone")
    init: str | None = Field(
        None, description="system whose weights it starts from (optimizer and schedule start fresh); none: random"
    )
    budget_of: str | None = Field(
        None,
        description="instead of max_epoch and max_update: as many as this system and all it was initialised from have "
        "together, whether or not patience ends one of these early",
    )


def overridable(section: type[Strict]) -> dict[str, str]:
    """The keys of ``training`` or ``distillation`` that a system may set for itself, and how it calls each."""
    names = {key: "teacher_mode" if key == "teacher" else key for key in section.model_fields}
    return {key: name for key, name in names.items() if name in System.model_fields}


class Config(Strict):
    """The experiment as a whole; everything else is in sections."""

    experiment: Name = Field(description="name of the experiment; results go to results/{experiment}")
    seeds: list[Seed] = Field(
        [1],
        min_length=1,
        json_schema_extra={"uniqueItems": True},
        description="every system is trained once a seed; add new ones at the end, because of teacher_seed",
    )
    threads: PositiveInt = Field(
        1, description="threads of one training or translation; two jobs of one thread beat one job of two here"
    )
    data: Data = Field(Data(), description="corpus")
    bpe: Bpe = Field(Bpe(), description="byte-pair encoding")
    models: dict[Name, Model] = Field(min_length=1, description="architectures by name")
    training: Training = Field(Training(), description="defaults of all systems")
    distillation: Distillation = Field(Distillation(), description="defaults of all systems that have a teacher")
    systems: dict[Name, System] = Field(min_length=1, description="what is trained, in the order of the table")
    checkpoints: Checkpoints = Field(Checkpoints(), description="how often trainings save their progress")
    cluster: Cluster = Field(Cluster(), description="what jobs ask a cluster for")
    decoding: Decoding = Field(Decoding(), description="translation of the test set")
    table: Table = Field(Table(), description="reference rows of the table")
