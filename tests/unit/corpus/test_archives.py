"""Members read from archives, and archives that are refused."""

import gzip
import lzma
import os
import stat
import tarfile
import zipfile

import pytest
from backports import zstd

from ekd_nmt.common.errors import UserError
from ekd_nmt.corpus.archives import open_member, read_members
from ekd_nmt.corpus.decompression import Refused
from iwslt14_archive import write_tgz

CONTENT = {"de-en/a": "Grüße\n".encode(), "de-en/b": os.urandom(50_000)}


def special(name, kind, target=""):
    item = tarfile.TarInfo(name)
    item.type, item.linkname = kind, target
    return item


def write_zip(path, members, *others):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("de-en")
        for name, content in members.items():
            archive.writestr(name, content)
        for item in others:
            archive.writestr(item, b"de-en/a")
    return path


def of_mode(name, mode):
    item = zipfile.ZipInfo(name)
    item.external_attr = mode << 16
    return item


@pytest.mark.parametrize(
    "pack", [bytes, gzip.compress, lzma.compress, zstd.compress, None], ids=["tar", "gz", "xz", "zst", "zip"]
)
def test_reads_what_is_wanted_and_names_all(tmp_path, pack):
    if pack is None:
        path = write_zip(tmp_path / "a", CONTENT)
    else:
        path = write_tgz(tmp_path / "a", CONTENT)
        path.write_bytes(pack(gzip.decompress(path.read_bytes())))
    assert read_members(path, {"de-en/b", "de-en/c"}) == ({"de-en/b": CONTENT["de-en/b"]}, ["de-en", *CONTENT])


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        (special("de-en/x", tarfile.SYMTYPE, "/etc/passwd"), "'de-en/x' is a link, a device"),
        (special("de-en/x", tarfile.LNKTYPE, "de-en/a"), "'de-en/x' is a link, a device"),
        (special("de-en/x", tarfile.CHRTYPE), "'de-en/x' is a link, a device"),
        (special("de-en/x", tarfile.BLKTYPE), "'de-en/x' is a link, a device"),
        (special("de-en/x", tarfile.FIFOTYPE), "'de-en/x' is a link, a device"),
        (special("de-en/x", tarfile.GNUTYPE_SPARSE), "'de-en/x' is a link, a device"),
        (special("../x", tarfile.REGTYPE), "'../x' leads outside"),
        (special("de-en/../../x", tarfile.REGTYPE), "'de-en/../../x' leads outside"),
        (special("/x", tarfile.REGTYPE), "'/x' leads outside"),
        (special("..\\x", tarfile.REGTYPE), r"'..\\\\x' leads outside"),
        (special("C:x", tarfile.DIRTYPE), "'C:x' leads outside"),
        (of_mode("de-en/x", stat.S_IFLNK | 0o777), "'de-en/x' is a link, a device"),
        (of_mode("de-en/x", stat.S_IFCHR | 0o600), "'de-en/x' is a link, a device"),
        (of_mode("../x", stat.S_IFREG | 0o644), "'../x' leads outside"),
        (of_mode("/x", 0), "'/x' leads outside"),
    ],
)
def test_an_unsafe_member_is_refused_even_if_unused(tmp_path, item, problem):
    pack = write_tgz if isinstance(item, tarfile.TarInfo) else write_zip
    path = pack(tmp_path / "a", CONTENT, item)
    with pytest.raises(UserError, match=rf"a: member {problem}.*; do not trust this copy, fetch it again"):
        read_members(path, CONTENT)


def test_an_encrypted_member_is_refused(tmp_path):
    path = write_zip(tmp_path / "a.zip", CONTENT)
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 1)  # the first is that of the folder
    content[entry + 8] |= 1
    path.write_bytes(content)
    assert read_members(path, ["de-en/b"])[0] == {"de-en/b": CONTENT["de-en/b"]}
    with pytest.raises(UserError, match=r"a\.zip: member 'de-en/a' is encrypted; unpack it and name the unpacked file"):
        read_members(path, ["de-en/a"])


@pytest.mark.parametrize(("pack", "wanted"), [(write_tgz, []), (write_tgz, ["zeros"]), (write_zip, ["zeros"])])
def test_a_bomb_is_refused(tmp_path, pack, wanted):
    """An unused one too, if it must be unpacked to reach the other members."""
    path = pack(tmp_path / "a", {"zeros": bytes(5_000_000)})
    assert path.stat().st_size < 20_000
    with pytest.raises(UserError, match=r"a: unpacks to more than 1000000 bytes"):
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
def test_other_files_than_tgz_are_refused(tmp_path, content):
    (tmp_path / "a.tgz").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.tgz: damaged, cut off or not an archive \(.+\); fetch it again"):
        read_members(tmp_path / "a.tgz", CONTENT)


def test_a_flipped_bit_is_found_anywhere(tmp_path):
    path = write_tgz(tmp_path / "a.tgz", CONTENT)
    whole = path.read_bytes()
    for place in (len(whole) // 2, len(whole) - 6):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(UserError, match=r"a\.tgz: damaged"):
            read_members(path, [])


def test_a_plain_tar_that_is_damaged_or_ends_between_two_members_is_noticed(tmp_path):
    """Python's ``tarfile`` takes both for the end of the archive."""
    path = write_tgz(tmp_path / "a.tar", CONTENT)
    whole = gzip.decompress(path.read_bytes())
    second = whole.index(b"de-en/b")
    for content in (whole[:second], whole[:second] + b"?" + whole[second + 1 :], whole[: second + 100]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"a\.tar: damaged, cut off or not an archive \((empty|bad|truncated) "):
            read_members(path, ["de-en/a"])


def test_a_truncated_or_damaged_zip_is_refused(tmp_path):
    path = write_zip(tmp_path / "a.zip", CONTENT)
    whole = path.read_bytes()
    middle = whole.index(CONTENT["de-en/b"][:8]) + 1000
    for content in (whole[:-30], whole[:middle], whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"a\.zip: damaged, cut off or not an archive \("):
            read_members(path, CONTENT)


def test_a_folder_is_not_a_file_of_that_name(tmp_path):
    path = write_tgz(tmp_path / "a.tgz", CONTENT)
    assert read_members(path, ["de-en"])[0] == {}
    with pytest.raises(Refused, match="has no such member; it has de-en/"), open_member(path, "de-en"):
        pass


def test_the_rest_of_the_archive_is_verified_only_after_a_block_without_an_error(tmp_path):
    path = write_tgz(tmp_path / "a.tgz", CONTENT | {"large": os.urandom(500_000)})
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(KeyError), open_member(path, "de-en/a"):
        raise KeyError
    with pytest.raises(EOFError), open_member(path, "de-en/a") as stream:
        assert stream.read() == CONTENT["de-en/a"]


def test_a_missing_archive_is_reported(tmp_path):
    with pytest.raises(UserError, match=r"a\.tgz: cannot be read \(No such file or directory\)"):
        read_members(tmp_path / "a.tgz", CONTENT)
