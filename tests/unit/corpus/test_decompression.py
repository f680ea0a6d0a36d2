"""Recognised formats, truncation and damage, and the bound of the unpacked size."""

import bz2
import gzip
import io
import lzma
import os
import random
import tarfile
import zipfile
import zlib

import pytest
from backports import zstd

from ekd_nmt.common.errors import UserError
from ekd_nmt.corpus.decompression import READ_ERRORS, Refused, StreamsReader, _xz, explained, unpack_limit, unpacked

TEXT = "".join(f"Satz {number}: {random.Random(number).random()} über\n" for number in range(3000)).encode()
CHECKSUM = {zstd.CompressionParameter.checksum_flag: 1}
PACKED = {
    "gzip": gzip.compress(TEXT, mtime=0),
    "gzip, two members": gzip.compress(TEXT[:9999], mtime=0) + gzip.compress(TEXT[9999:], mtime=0),
    "bzip2": bz2.compress(TEXT),
    "bzip2, two streams": bz2.compress(TEXT[:9999]) + bz2.compress(TEXT[9999:]),
    "xz": lzma.compress(TEXT),
    "xz, two streams": lzma.compress(TEXT[:9999]) + bytes(8) + lzma.compress(TEXT[9999:]) + bytes(4),
    "zstd": zstd.compress(TEXT, options=CHECKSUM),
    "zstd, two frames": zstd.compress(TEXT[:9999], options=CHECKSUM) + zstd.compress(TEXT[9999:], options=CHECKSUM),
}


def content(packed: bytes, limit: int = 1 << 30) -> bytes:
    return unpacked(io.BufferedReader(io.BytesIO(packed)), limit).read()


@pytest.mark.parametrize("kind", PACKED)
def test_unpacks(kind):
    assert content(PACKED[kind]) == TEXT


def test_empty_bzip2_file():
    assert content(bz2.compress(b"")) == b""


@pytest.mark.parametrize("plain", [b"", b"\x1f", b"Satz\n", b"\x28\xb5", b"BZh9\n"])
def test_uncompressed_content_is_not_changed(plain):
    assert content(plain) == plain


@pytest.mark.parametrize("lost", [1, 5, 2000, 11_000])
@pytest.mark.parametrize("kind", PACKED)
def test_truncated_file_is_an_error(kind, lost):
    if kind == "xz, two streams" and lost == 1:
        lost = 5  # the last four are padding
    with pytest.raises(EOFError):
        content(PACKED[kind][:-lost])


@pytest.mark.parametrize("place", [0.2, 0.5, 0.9, 1])
@pytest.mark.parametrize("kind", PACKED)
def test_flipped_bit_is_an_error(kind, place):
    damaged = bytearray(PACKED[kind].rstrip(b"\0"))
    damaged[int(place * (len(damaged) - 2))] ^= 4
    with pytest.raises(READ_ERRORS):
        content(bytes(damaged))


@pytest.mark.parametrize("kind", [kind for kind in PACKED if "two" in kind])
def test_damaged_start_of_the_second_stream_is_an_error(kind):
    """Python's own ``lzma`` and ``bz2`` modules read only the first stream and raise nothing."""
    magic = PACKED[kind][:4]
    start = PACKED[kind].index(magic, 4)
    with pytest.raises(READ_ERRORS):
        content(PACKED[kind][:start] + b"?" + PACKED[kind][start + 1 :])


def test_much_padding_between_xz_streams():
    assert content(lzma.compress(b"one") + bytes(1 << 18) + lzma.compress(b"two") + bytes(1 << 18)) == b"onetwo"


def test_xz_in_small_blocks():
    reader = StreamsReader(io.BytesIO(PACKED["xz, two streams"]), _xz)
    assert b"".join(iter(lambda: reader.read(7), b"")) == TEXT
    assert reader.read(7) == b""


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, zstd.compress])
def test_decompression_bomb_is_refused(compress):
    bomb = compress(bytes(5_000_000))
    assert content(bomb, limit=5_000_000) == bytes(5_000_000)
    with pytest.raises(Refused, match="unpacks to more than 4999999 bytes"):
        content(bomb, limit=4_999_999)


def test_bound_allows_small_files_and_usual_ratios():
    assert unpack_limit(10) == 256 << 20
    assert unpack_limit(3 << 30) == 200 * 3 << 30


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (Refused("is bad; fetch it again"), "a.gz: is bad; fetch it again"),
        (EOFError("internal"), "a.gz: the archive is truncated after line 7; fetch it again"),
        (zlib.error("bits"), "a.gz: damaged, cut off or not an archive after line 7 (bits); fetch it again"),
        (gzip.BadGzipFile("sum"), "a.gz: damaged, cut off or not an archive after line 7 (sum); fetch it again"),
        (tarfile.ReadError("sum"), "a.gz: damaged, cut off or not an archive after line 7 (sum); fetch it again"),
        (zipfile.BadZipFile("sum"), "a.gz: damaged, cut off or not an archive after line 7 (sum); fetch it again"),
        (OSError("Invalid data stream"), "a.gz: damaged, cut off or not an archive after line 7 (Invalid data stream)"),
        (NotImplementedError("type 9"), "a.gz: packed by an unsupported method (type 9); unpack it and pack it again"),
        (OSError(13, os.strerror(13)), "a.gz: cannot be read (Permission denied); check the path and its permissions"),
    ],
)
def test_message_of_each_error(error, message):
    found = explained(error, "a.gz", " after line 7")
    assert isinstance(found, UserError)
    assert isinstance(error, READ_ERRORS)
    assert str(found).startswith(message)
