"""kd/binarized_corpus.py: missing and incomplete corpora."""

import shutil

import pytest

from ekd_nmt.common.errors import UserError
from kd.binarized_corpus import load_task


def test_corpora_that_cannot_be_used(tiny_corpus, tmp_path):
    with pytest.raises(UserError, match="no binarised corpus there"):
        load_task(tmp_path)
    shutil.copytree(tiny_corpus, tmp_path / "bin")
    (tmp_path / "bin" / "valid.de-en.en.idx").unlink()
    with pytest.raises(UserError, match=r"the binarised corpus is incomplete \(no target side of valid\)"):
        load_task(tmp_path / "bin")
    (tmp_path / "bin" / "train.de-en.de.bin").unlink()
    with pytest.raises(UserError, match=r"the binarised corpus is incomplete \(.*train"):
        load_task(tmp_path / "bin")
    (tmp_path / "bin" / "dict.de.txt").unlink()
    with pytest.raises(UserError, match=r"the binarised corpus is incomplete \(.*dict\.de\.txt"):
        load_task(tmp_path / "bin")
