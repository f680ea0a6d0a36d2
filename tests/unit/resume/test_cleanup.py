"""cleanup.py: half-written files are found, and what is removed is only what was named."""

from ekd_nmt.resume.cleanup import remove, size_of, temporaries


def test_temporaries_are_hidden_and_end_in_tmp(tmp_path):
    (tmp_path / "a/.folder.tmp").mkdir(parents=True)
    for name in (".x.json.abc.tmp", "a/.folder.tmp/.inner.tmp", "a/x.tmp", "a/.x", "a/.y.part", "a/excluded/.z.tmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = list(temporaries(tmp_path, {tmp_path / "a/excluded"}))
    assert found == [tmp_path / ".x.json.abc.tmp", tmp_path / "a/.folder.tmp"]


def test_sizes_and_removal_follow_no_link(tmp_path):
    outside = tmp_path / "outside"
    for folder in (outside, tmp_path / "a/b"):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(bytes(1000))
    (tmp_path / "a/link").symlink_to(outside)
    assert size_of(tmp_path / "a") == 1000
    remove(tmp_path / "a")
    (tmp_path / "link").symlink_to(outside)
    assert size_of(tmp_path / "link") == 0
    remove(tmp_path / "link")
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]
    assert (outside / "file").exists()
