"""archives.py: what is read out of a .tgz, and which archives are refused."""

import gzip
import os
import tarfile

import pytest

from archives import read_members
from cli import UserError
from iwslt14_archive import write_tgz

CONTENT = {"de-en/a": "Grüße\n".encode(), "de-en/b": os.urandom(50_000)}


def special(name, kind, target=""):
    item = tarfile.TarInfo(name)
    item.type, item.linkname = kind, target
    return item


def test_reads_what_is_wanted_and_names_all(tmp_path):
    path = write_tgz(tmp_path / "a.tgz", CONTENT)
    assert read_members(path, {"de-en/b", "de-en/c"}) == ({"de-en/b": CONTENT["de-en/b"]}, ["de-en", *CONTENT])


def test_names_may_start_with_a_dot(tmp_path):
    path = write_tgz(tmp_path / "a.tgz", {"./de-en/a": b"text"})
    assert read_members(path, ["de-en/a"])[0] == {"de-en/a": b"text"}


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        (special("de-en/x", tarfile.SYMTYPE, "/etc/passwd"), "'de-en/x' is a link, a device"),
        (special("de-en/x", tarfile.LNKTYPE, "de-en/a"), "'de-en/x' is a link, a device"),
        (special("de-en/x", tarfile.CHRTYPE), "'de-en/x' is a link, a device"),
        (special("de-en/x", tarfile.FIFOTYPE), "'de-en/x' is a link, a device"),
        (special("../x", tarfile.REGTYPE), "'../x' leads outside"),
        (special("de-en/../../x", tarfile.REGTYPE), "'de-en/../../x' leads outside"),
        (special("/tmp/x", tarfile.REGTYPE), "'/tmp/x' leads outside"),
    ],
)
def test_an_unsafe_member_is_refused_though_nobody_wants_it(tmp_path, item, problem):
    path = write_tgz(tmp_path / "a.tgz", CONTENT, item)
    with pytest.raises(UserError, match=rf"a\.tgz: member {problem}.*; do not trust this copy, fetch it again"):
        read_members(path, CONTENT)


@pytest.mark.parametrize("wanted", [[], ["de-en/zeros"]])
def test_a_bomb_is_refused_whether_its_content_is_wanted_or_not(tmp_path, wanted):
    path = write_tgz(tmp_path / "a.tgz", {"de-en/zeros": bytes(5_000_000)})
    assert path.stat().st_size < 20_000
    with pytest.raises(UserError, match=r"a\.tgz: unpacks to more than 1000000 bytes"):
        read_members(path, wanted, limit=1_000_000)


def test_a_bomb_in_a_header_is_refused(tmp_path):
    path = tmp_path / "a.tgz"
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT, pax_headers={"comment": "x" * 5_000_000}):
        pass
    with pytest.raises(UserError, match="unpacks to more than"):
        read_members(path, [], limit=1_000_000)


@pytest.mark.parametrize("lost", [4, 1000, 49_000])  # in the checksum, in the padding or content, early
def test_a_truncated_archive_is_refused(tmp_path, lost):
    path = write_tgz(tmp_path / "a.tgz", CONTENT)
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(UserError, match=r"a\.tgz: the archive is truncated; fetch it again"):
        read_members(path, CONTENT)


def test_a_member_cut_off_inside_a_whole_gzip_is_refused(tmp_path):
    path = write_tgz(tmp_path / "a.tgz", CONTENT)
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:20_000]))
    with pytest.raises(UserError, match=r"a\.tgz: (the archive is truncated|damaged)"):
        read_members(path, CONTENT)


@pytest.mark.parametrize(
    "content",
    [b"<html>not found</html>", gzip.compress(b"no tar here" * 100), gzip.compress(b""), b""],
    ids=["html", "no tar", "empty gzip", "empty"],  # a gzip holds its time, so it is no name that two workers agree on
)
def test_what_is_no_tgz_is_refused(tmp_path, content):
    (tmp_path / "a.tgz").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.tgz: damaged, or not a \.tgz archive \(.+\); fetch it again"):
        read_members(tmp_path / "a.tgz", CONTENT)


def test_a_flipped_bit_is_found_wherever_it_is(tmp_path):
    path = write_tgz(tmp_path / "a.tgz", CONTENT)
    whole = path.read_bytes()
    for place in (len(whole) // 2, len(whole) - 6):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(UserError, match=r"a\.tgz: damaged"):
            read_members(path, [])


def test_a_missing_archive_is_told(tmp_path):
    with pytest.raises(UserError, match=r"a\.tgz: cannot be read \(No such file or directory\)"):
        read_members(tmp_path / "a.tgz", CONTENT)
