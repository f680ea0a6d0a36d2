"""The table of rules, the rules themselves and the SLURM profile agree."""

import re

import yaml

from configurations import ROOT
from ekd_nmt.cluster.rule_table import RULES

SOURCES = "".join(path.read_text() for path in [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")])
TARGETS = {"all", "data", "models"}
# name → text of the rules that call a command, name → base of those derived from them
BLOCKS = dict(re.findall(r"^ *rule (\w+):\n((?:(?! *(?:use )?rule ).*\n)+)", SOURCES, re.MULTILINE))
DERIVED = {name: base for base, name in re.findall(r"^ *use rule (\w+) as (\w+) with:", SOURCES, re.MULTILINE)}
PROFILE = yaml.safe_load((ROOT / "slurm/config.v9+.yaml").read_text())


def rules(attribute):
    return {name for name, rule in RULES.items() if getattr(rule, attribute)}


def test_table_has_every_rule_and_no_other():
    assert len(BLOCKS) > 15
    assert len(DERIVED) >= 3
    assert set(RULES) == {*BLOCKS, *DERIVED} - TARGETS


def test_command_has_the_name_of_its_rule():
    commands = {name: set(re.findall(r"workflow_scripts/(\w+)\.py", text)) for name, text in BLOCKS.items()}
    assert {name: called for name, called in commands.items() if called} == {n: {n} for n in set(BLOCKS) - TARGETS}
    revisions = re.findall(r'\brevision\("(\w+)"\)', SOURCES)
    assert sorted(revisions) == sorted(set(BLOCKS) - TARGETS - {"clean_stale"})
    for name, base in DERIVED.items():
        assert base in BLOCKS
        assert set(base.split("_")) < set(name.split("_"))


def test_every_rule_makes_the_requests_of_its_name():
    requested = re.findall(
        r"\brule (?:\w+ as )?(\w+)(?: with)?:\n(?:(?! *(?:use )?rule ).*\n)+?.*requests\.of\(\"(\w+)\"\)", SOURCES
    )
    assert all(name == argument for name, argument in requested)
    assert {name for name, _ in requested} == set(RULES) - {"clean_stale"}


def test_local_rules():
    lists = re.findall(r"^localrules:\n((?:    \w+,\n)+)", SOURCES, re.MULTILINE)
    assert set(re.findall(r"\w+", "".join(lists))) == rules("local") | TARGETS


def test_profile_has_the_groups_of_the_table():
    assert PROFILE["groups"] == dict.fromkeys(rules("corpus_group"), "corpus")


def test_every_job_of_a_cluster_has_one_place():
    places = [rules(attribute) for attribute in ("local", "corpus_group", "gpu")]
    assert set().union(*places) == set(RULES)
    assert sum(map(len, places)) == len(RULES)
