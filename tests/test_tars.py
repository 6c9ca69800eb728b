"""A tar that is damaged or cut short raises, wherever that is; a whole one never does."""

import bz2
import gzip
import io
import lzma
import subprocess
import tarfile

import pytest

from captioner.tars import tar_members

MEMBERS = 6


def tar(format: int = tarfile.GNU_FORMAT, name: str = "{}.jpg") -> bytes:
    """Six members of 1,100 bytes; with a header and padding each takes 2,048."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format) as file:
        for i in range(MEMBERS):
            member = tarfile.TarInfo(name.format(i))
            member.size = 1100
            file.addfile(member, io.BytesIO(bytes([65 + i]) * 1100))
    return stream.getvalue()


def read(path, data: bytes, *, compressed: bool = False) -> list[bytes]:
    path.write_bytes(data)
    found = []
    try:
        for file, member in tar_members(path, compressed=compressed):
            found.append(file.extractfile(member).read())
    except (tarfile.ReadError, EOFError, OSError, lzma.LZMAError) as error:
        found.append(error)
    return found


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", ["{}.jpg", "ü{}.jpg"])
def test_whole_archives_are_read_to_their_end(tmp_path, format, name):
    whole = tar(format, name)
    wanted = [bytes([65 + i]) * 1100 for i in range(MEMBERS)]
    assert read(tmp_path / "a.tar", whole) == wanted
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    for size in (512, 1024, 20_000):  # one zero block is an end, and so is any number
        assert read(tmp_path / "b.tar", whole[:end] + bytes(size)) == wanted
    for pack in (gzip.compress, bz2.compress, lzma.compress):
        assert read(tmp_path / "c.tgz", pack(whole), compressed=True) == wanted
        parts = pack(whole[:3000]) + pack(whole[3000:])
        assert read(tmp_path / "d.tgz", parts, compressed=True) == wanted


def test_an_archive_that_tar_wrote_is_read_to_its_end(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"a")
    subprocess.run(["tar", "-cf", "a.tar", "a.jpg"], cwd=tmp_path, check=True)
    assert read(tmp_path / "b.tar", (tmp_path / "a.tar").read_bytes()) == [b"a"]


@pytest.mark.parametrize("pack", [None, gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda d: d[:4096] + b"?" + d[4097:], id="a name's byte"),
        pytest.param(lambda d: d[:4220] + b"1" + d[4221:], id="a size's byte"),
        pytest.param(lambda d: d[:4244] + b"\0" + d[4245:], id="a checksum's byte"),
        pytest.param(lambda d: d[:4096] + bytes(512) + d[4608:], id="a header of zeros"),
        pytest.param(lambda d: d[:4096], id="cut between members"),
        pytest.param(lambda d: d[:4300], id="cut inside a header"),
    ],
)
def test_damage_comes_after_the_members_before_it(tmp_path, pack, damage):
    data = damage(tar())
    if pack:
        data = pack(data)
    *found, error = read(tmp_path / "a.tar", data, compressed=pack is not None)
    assert found == [b"A" * 1100, b"B" * 1100]
    assert isinstance(error, tarfile.ReadError)


def test_a_cut_inside_a_member_a_broken_stream_and_a_second_archive_are_errors(tmp_path):
    whole = tar()
    assert isinstance(read(tmp_path / "a.tar", whole[:5000])[-1], tarfile.ReadError)
    assert isinstance(read(tmp_path / "a.tar", whole + whole)[-1], tarfile.ReadError)
    assert isinstance(read(tmp_path / "a.tar", b"")[-1], tarfile.ReadError)
    packed = gzip.compress(whole)
    flipped = packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:]  # in the checksum
    for data in (packed[:-20], flipped):
        assert isinstance(read(tmp_path / "a.tgz", data, compressed=True)[-1], Exception)
