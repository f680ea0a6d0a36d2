"""kd/arguments.py: fairseq's arguments for config/iwslt14.yaml equal the reference's, option by option."""

import json

import pytest

from kd.arguments import batches_per_rank, training_arguments
from reference import DISTILLATION, EPOCHS, INITS, MODELS, TEACHERS, TRAINING, WIDTHS, iwslt14

# The reference's options as fairseq's arguments; the workflow must set no others.
FLAGS = {
    "--task": "translation",
    "--arch": "transformer",
    "--optimizer": "adam",
    "--adam-betas": "(0.9, 0.98)",
    "--lr": "0.0005",
    "--lr-scheduler": "inverse_sqrt",
    "--warmup-updates": "4000",
    "--warmup-init-lr": "1e-07",
    "--dropout": "0.3",
    "--weight-decay": "0.0001",
    "--clip-norm": "0.0",
    "--label-smoothing": "0.1",
    "--max-tokens": "4096",
    "--batch-size": "1024",
    "--max-tokens-valid": "4096",
    "--batch-size-valid": "1024",
    "--update-freq": "1",
    "--encoder-ffn-embed-dim": "1024",
    "--decoder-ffn-embed-dim": "1024",
    "--encoder-attention-heads": "4",
    "--decoder-attention-heads": "4",
    "--encoder-layers": "6",
    "--decoder-layers": "6",
    "--eval-bleu-args": '{"beam": 5, "max_len_a": 1.2, "max_len_b": 10}',
    "--eval-bleu-detok": "moses",
    "--best-checkpoint-metric": "bleu",
    # not the reference's: paths, and how this workflow runs and logs
    "--save-dir": "out",
    "--seed": "1",
    "--num-workers": "0",
    "--log-format": "none",
}
KD_FLAGS = {"--criterion": "label_smoothed_kd", "--alpha": "0.5", "--temperature": "1.0", "--divergence": "forward_kl"}
HYDRA = pytest.mark.filterwarnings("ignore::UserWarning")  # hydra's warnings about fairseq's calls
SWITCHES = {
    "--share-decoder-input-output-embed",
    "--eval-bleu",
    "--eval-bleu-remove-bpe",
    "--maximize-best-checkpoint-metric",
    "--no-progress-bar",
}


def arguments(options: dict, **changes) -> list[str]:
    """The command line for options, with a teacher and an initial model where the options name one."""
    teacher, init = options["teacher"], options["init"]
    return training_arguments(
        options,
        data="bin",
        save_dir="out",
        seed=1,
        teacher=teacher and f"{teacher}.pt",
        init=init and f"{init}.pt",
        **changes,
    )


def split(command: list[str]) -> tuple[list[str], dict[str, str], set[str]]:
    """Positional arguments, flags with their values, and switches, each given once."""
    positional, flags, switches = [], {}, set()
    rest = list(command)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            positional.append(word)
        elif rest and not rest[0].startswith("--"):
            assert word not in flags
            flags[word] = rest.pop(0)
        else:
            assert word not in switches
            switches.add(word)
    return positional, flags, switches


def changed(**training) -> tuple[dict[str, str], set[str]]:
    """Flags and switches of the student, with other training options."""
    options = iwslt14().options("student")
    options["training"] |= training
    _, flags, switches = split(arguments(options))
    return flags, switches


def test_data_and_decoding():
    config = iwslt14().config
    assert (config.bpe.merges, config.bpe.joined_dictionary) == (10000, False)
    assert (config.data.source_lang, config.data.target_lang, config.data.lowercase) == ("de", "en", True)
    assert config.data.filter.model_dump(exclude_none=True) == {"min_tokens": 1, "max_tokens": 175, "max_ratio": 1.5}
    assert config.decoding.beam == 5


@pytest.mark.parametrize("system", EPOCHS)
def test_options_are_the_references(system):
    expected = {
        "system": system,
        "model_name": MODELS[system],
        "model": {"embed_dim": WIDTHS[MODELS[system]], "ffn_dim": 1024, "heads": 4, "layers": 6},
        "training": TRAINING | {"max_epoch": EPOCHS[system]},
        "teacher": TEACHERS[system],
        "init": INITS[system],
    }
    if TEACHERS[system]:
        expected["distillation"] = DISTILLATION
    assert iwslt14().options(system) == expected


def test_there_are_no_other_systems():
    assert list(iwslt14().systems) == list(EPOCHS)


@pytest.mark.parametrize("system", EPOCHS)
def test_arguments_are_the_references(system):
    width = str(WIDTHS[MODELS[system]])
    expected = FLAGS | {"--encoder-embed-dim": width, "--decoder-embed-dim": width, "--max-epoch": str(EPOCHS[system])}
    if TEACHERS[system]:
        expected |= KD_FLAGS | {"--teacher": f"{TEACHERS[system]}.pt"}
    else:
        expected["--criterion"] = "label_smoothed_rows"
    if INITS[system]:
        expected["--finetune-from-model"] = f"{INITS[system]}.pt"

    positional, flags, switches = split(arguments(iwslt14().options(system)))
    assert positional == ["bin"]
    assert flags == expected
    assert switches == SWITCHES


def test_options_become_flags():
    flags, switches = changed(max_update=7, precision="bf16")
    assert flags["--max-update"] == "7"
    assert switches == SWITCHES | {"--bf16"}
    assert "--fp16" in changed(precision="fp16")[1]


@pytest.mark.parametrize(
    ("update_freq", "ranks", "expected"),
    [
        (1, 1, (1, 4096, 1024)),
        (2, 2, (1, 4096, 1024)),
        (8, 2, (4, 4096, 1024)),
        (1, 4, (1, 1024, 256)),
        (2, 4, (1, 2048, 512)),
        (6, 4, (3, 2048, 512)),
        (3, 2, (3, 2048, 512)),
        (1, 2048, (1, 2, 1)),
    ],
)
def test_an_update_of_several_ranks_is_as_large_as_that_of_one_process(update_freq, ranks, expected):
    batches = batches_per_rank(TRAINING | {"update_freq": update_freq}, ranks)
    assert tuple(batches.values()) == expected
    assert list(batches) == ["update_freq", "max_tokens", "max_sentences"]
    assert ranks * batches["update_freq"] * batches["max_tokens"] == update_freq * TRAINING["max_tokens"]


def test_ranks_share_the_batches_of_training_and_not_those_of_validation():
    flags, _ = changed(gpus=2, nodes=2, update_freq=2)
    names = ("--update-freq", "--max-tokens", "--batch-size", "--max-tokens-valid", "--batch-size-valid")
    assert [flags[name] for name in names] == ["1", "2048", "512", "4096", "1024"]


def test_selection_by_loss_computes_no_bleu():
    flags, switches = changed(validation=TRAINING["validation"] | {"metric": "loss"})
    assert not any("bleu" in word for word in [*flags, *switches])
    assert switches == {"--share-decoder-input-output-embed", "--no-progress-bar"}
    assert "--best-checkpoint-metric" not in flags  # fairseq's own default is the loss, the lower the better


def test_teacher_dropout_and_cpu():
    options = iwslt14().options("junior_student")
    options["distillation"]["teacher_dropout"] = True
    assert split(arguments(options, cpu=True))[2] == SWITCHES | {"--teacher-dropout", "--cpu"}


def test_the_options_are_not_changed():
    options = iwslt14().options("master_student")
    before = json.dumps(options)
    arguments(options)
    assert json.dumps(options) == before


@pytest.fixture(scope="module")
def parse():
    """Parses a command line as fairseq does."""
    from kd.fairseq_api import convert_namespace_to_omegaconf, get_training_parser, parse_args_and_arch

    def read(command: list[str]):
        namespace = parse_args_and_arch(get_training_parser(), input_args=command)
        return namespace, convert_namespace_to_omegaconf(namespace)

    return read


@HYDRA
def test_fairseq_parses_distillation_as_meant(parse):
    args, cfg = parse(arguments(iwslt14().options("master_student")))
    assert args.data == "bin"
    assert (args.encoder_embed_dim, args.decoder_embed_dim, args.decoder_output_dim) == (128, 128, 128)
    assert (args.encoder_ffn_embed_dim, args.decoder_ffn_embed_dim) == (1024, 1024)
    assert (args.encoder_attention_heads, args.decoder_attention_heads) == (4, 4)
    assert (args.encoder_layers, args.decoder_layers) == (6, 6)
    assert (args.share_decoder_input_output_embed, args.share_all_embeddings) == (True, False)
    assert (args.dropout, args.attention_dropout, args.activation_dropout) == (0.3, 0.0, 0.0)
    assert (args.encoder_normalize_before, args.decoder_normalize_before) == (False, False)

    optimizer = cfg.optimizer
    assert (optimizer._name, optimizer.adam_betas, optimizer.weight_decay) == ("adam", "(0.9, 0.98)", 0.0001)
    schedule = cfg.lr_scheduler
    assert (schedule._name, schedule.warmup_updates, schedule.warmup_init_lr) == ("inverse_sqrt", 4000, 1e-7)
    assert list(schedule.lr) == list(cfg.optimization.lr) == [0.0005]
    assert (cfg.optimization.max_epoch, cfg.optimization.max_update) == (100, 0)  # 0: no limit
    assert (list(cfg.optimization.update_freq), cfg.optimization.clip_norm) == ([1], 0.0)
    assert cfg.optimization.sentence_avg is False  # the loss is divided by tokens
    assert (cfg.dataset.max_tokens, cfg.dataset.batch_size) == (4096, 1024)
    assert (cfg.dataset.max_tokens_valid, cfg.dataset.batch_size_valid) == (4096, 1024)
    assert (cfg.common.seed, cfg.common.fp16, cfg.common.bf16, cfg.common.cpu) == (1, False, False, False)

    criterion = cfg.criterion
    assert (criterion._name, criterion.label_smoothing) == ("label_smoothed_kd", 0.1)
    assert (criterion.alpha, criterion.temperature, str(criterion.divergence)) == (0.5, 1.0, "forward_kl")
    assert (criterion.teacher, criterion.teacher_dropout) == ("senior_teacher.pt", False)

    task = cfg.task
    assert (task._name, task.eval_bleu, task.eval_bleu_detok) == ("translation", True, "moses")
    assert task.eval_bleu_remove_bpe == "@@ "
    assert json.loads(task.eval_bleu_args) == {"beam": 5, "max_len_a": 1.2, "max_len_b": 10}
    checkpoint = cfg.checkpoint
    assert (checkpoint.best_checkpoint_metric, checkpoint.maximize_best_checkpoint_metric) == ("bleu", True)
    assert (checkpoint.save_dir, checkpoint.finetune_from_model) == ("out", "junior_student.pt")


@HYDRA
def test_fairseq_parses_plain_training_as_meant(parse):
    options = iwslt14().options("senior_teacher")
    options["training"] |= {"max_update": 70, "validation": TRAINING["validation"] | {"metric": "loss"}}
    args, cfg = parse(arguments(options))
    assert (args.encoder_embed_dim, args.decoder_embed_dim) == (512, 512)
    assert (cfg.criterion._name, cfg.criterion.label_smoothing) == ("label_smoothed_rows", 0.1)
    assert (cfg.optimization.max_epoch, cfg.optimization.max_update) == (30, 70)
    assert (cfg.checkpoint.best_checkpoint_metric, cfg.checkpoint.maximize_best_checkpoint_metric) == ("loss", False)
    assert cfg.checkpoint.finetune_from_model is None
    assert cfg.task.eval_bleu is False
