"""The caption goes into the photo, and nothing else of the photo changes."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from captioner.batch.metadata import Described, WriteMetadata, has_description
from captioner.errors import PhotoError

exiv2 = pytest.importorskip("pyexiv2", reason="the extra `metadata` is not installed")
CAPTION = 'A cat "on" a mat – ünï.'
FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "tif": "TIFF"}


@pytest.fixture(params=FORMATS)
def photo(request, tmp_path):
    path = tmp_path / f"photo.{request.param}"
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, FORMATS[request.param], exif=exif)
    return path


def write(path, caption=CAPTION, **options):
    WriteMetadata(**options)(Described(str(path), path, caption))


def xmp(path):
    with exiv2.Image(str(path)) as image:
        return image.read_xmp()


def test_pixels_and_other_metadata_stay_and_the_original_is_kept(photo):
    before = photo.read_bytes()
    with Image.open(photo) as image:
        pixels = image.tobytes()
    os.chmod(photo, 0o640)  # noqa: PTH101
    write(photo, alt_text=True)
    assert xmp(photo)["Xmp.dc.description"] == {'lang="x-default"': CAPTION}
    assert xmp(photo)["Xmp.iptc.AltTextAccessibility"] == {'lang="x-default"': CAPTION}
    with Image.open(photo) as image:
        assert image.tobytes() == pixels
        assert image.getexif()[0x010F] == "A camera"
    kept = photo.with_name(photo.name + "_original")
    assert kept.read_bytes() == before
    assert photo.stat().st_mode & 0o777 == 0o640
    assert sorted(p.name for p in photo.parent.iterdir()) == [photo.name, kept.name]
    assert has_description(photo) and not has_description(kept)


def test_a_jpegs_compressed_picture_is_the_same_bytes(tmp_path):
    path = tmp_path / "photo.jpg"
    Image.effect_noise((80, 60), 60).convert("RGB").save(path, "JPEG")
    scan = path.read_bytes()[path.read_bytes().index(b"\xff\xdb") :]
    write(path)
    assert path.read_bytes().endswith(scan)


def test_another_description_stays_unless_it_is_to_be_overwritten(photo):
    write(photo, "Grandmother, 1962")
    after_first = photo.read_bytes()
    with pytest.raises(PhotoError, match=r"a description already.*Grandmother"):
        write(photo)
    assert photo.read_bytes() == after_first
    write(photo, "Grandmother, 1962")  # the same again changes nothing
    assert photo.read_bytes() == after_first
    write(photo, overwrite=True)
    assert xmp(photo)["Xmp.dc.description"] == {'lang="x-default"': CAPTION}
    assert not has_description(photo.with_name(photo.name + "_original")), "the first one is kept"


def test_other_files_are_left_alone_with_a_sentence(tmp_path):
    gif = tmp_path / "x.gif"
    Image.new("L", (9, 9)).save(gif)
    text = tmp_path / "x.jpg"
    text.write_text("no photo")
    for path in (gif, text, tmp_path / "gone.jpg"):
        before = path.read_bytes() if path.exists() else None
        with pytest.raises(PhotoError, match="The caption was not written into"):
            write(path)
        assert (path.read_bytes() if path.exists() else None) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.gif", "x.jpg"]


def test_a_link_stays_a_link(photo, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    real = tmp_path / "elsewhere" / photo.name
    shutil.move(photo, real)
    photo.symlink_to(real)
    write(photo)
    assert photo.is_symlink() and has_description(real)
