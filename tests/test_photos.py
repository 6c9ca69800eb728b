"""Every kind of photo loads upright in RGB; everything else is refused in one sentence."""

import importlib
import io
import os
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile

from captioner.errors import PhotoError
from captioner.photos import Limits, Photo, find_photos, load_photo, to_square

UPRIGHT = np.zeros((24, 40, 3), np.uint8)  # four different corners: any wrong turn shows
UPRIGHT[:12, :20] = (200, 30, 30)
UPRIGHT[:12, 20:] = (30, 200, 30)
UPRIGHT[12:, :20] = (30, 30, 200)
UPRIGHT[12:, 20:] = (220, 220, 60)

STORED = {  # EXIF orientation -> how a camera that writes it has stored the upright picture
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.swapaxes(0, 1),
    6: np.rot90(UPRIGHT),
    7: np.rot90(UPRIGHT, 2).swapaxes(0, 1),
    8: np.rot90(UPRIGHT, -1),
}


def encode(image, kind, **options):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(np.ascontiguousarray(image))
    if kind == "HEIF":
        heif = pytest.importorskip("pillow_heif")
        heif.register_heif_opener()
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def pixels(source, **options):
    photo = load_photo(source, **options)
    assert photo.image.mode == "RGB" and type(photo.image) is Image.Image
    return np.asarray(photo.image).astype(int)


def refusal(source, **options):
    with pytest.raises(PhotoError) as caught:
        load_photo(source, **options)
    sentence = str(caught.value)
    assert sentence[0].isprintable() and "\n" not in sentence and sentence.endswith(".")
    return sentence


# Upright ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_a_photo_turned_by_exif_is_the_upright_photo(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    if kind == "HEIF":
        exif = exif.tobytes()  # only so does pillow-heif write the turn where HEIF keeps it
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(STORED[orientation], kind, exif=exif, **options)
    for source in (data, Image.open(io.BytesIO(data))):
        photo = load_photo(source)
        assert (photo.width, photo.height) == photo.image.size == (40, 24)
        off = np.abs(pixels(source) - UPRIGHT)
        assert off.mean() < 12  # lossy chroma blurs the edges between corners
        assert off[[2, 2, -3, -3], [2, -3, 2, -3]].max() < 16


@pytest.mark.parametrize("orientation", [1, 6])
def test_width_and_height_are_of_the_full_upright_photo_after_reduction(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(STORED[orientation]).resize(
        (1600, 960) if orientation == 1 else (960, 1600), Image.Resampling.NEAREST
    )
    for kind in ("JPEG", "PNG", "TIFF"):
        photo = load_photo(encode(stored, kind, exif=exif), min_side=100)
        assert (photo.width, photo.height) == (1600, 960)
        assert min(photo.image.size) < 960 and photo.image.width > photo.image.height


@pytest.mark.filterwarnings("ignore")
def test_broken_exif_does_not_cost_the_photo():
    data = encode(UPRIGHT, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40)
    assert np.abs(pixels(data) - UPRIGHT).mean() < 12


# Reduced decoding ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(2000, 1500), (1500, 2000), (4000, 600), (300, 200), (261, 999)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("min_side", [64, 100, 260])
def test_a_reduced_photo_keeps_the_pixels_asked_for(kind, size, min_side):
    ramp = np.linspace(0, 255, size[0]).astype(np.uint8)
    data = encode(np.broadcast_to(ramp[None, :, None], (size[1], size[0], 3)), kind)
    photo = load_photo(data, min_side=min_side)
    assert (photo.width, photo.height) == size
    assert min(photo.image.size) >= min(min_side, *size)
    if min(size) >= 4 * min_side:
        assert photo.image.width * photo.image.height <= size[0] * size[1] / 3.9
    small, full = to_square(photo, 64), to_square(load_photo(data), 64)
    assert np.abs(small.astype(int) - full.astype(int)).mean() < 3


def test_a_large_jpeg_is_never_decoded_at_full_size(monkeypatch):
    data = encode(Image.new("RGB", (6000, 4000), "teal"), "JPEG")
    decoded = []
    prepare = ImageFile.ImageFile.load_prepare
    monkeypatch.setattr(
        ImageFile.ImageFile, "load_prepare", lambda im: decoded.append(im.size) or prepare(im)
    )
    assert load_photo(data, min_side=260).image.size == decoded[0] == (750, 500)


def test_to_square_squeezes_the_whole_photo():
    square = to_square(load_photo(UPRIGHT), 16)
    assert square.shape == (16, 16, 3) and square.dtype == np.uint8 and square.flags.writeable
    corners = [(1, 1), (1, -2), (-2, 1), (-2, -2)]
    for (row, column), (y, x) in zip(corners, [(0, 0), (0, -1), (-1, 0), (-1, -1)], strict=True):
        assert np.abs(square[row, column].astype(int) - UPRIGHT[y, x]).max() < 6


# Modes and formats --------------------------------------------------------------------------------


def test_transparency_lies_over_white():
    half = Image.new("RGBA", (4, 4), (255, 0, 0, 128))
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    for kind in ("PNG", "WEBP", "TIFF"):
        assert np.abs(pixels(encode(half, kind)) - (255, 127, 127)).max() <= 1
        assert pixels(encode(clear, kind)).min() == 255
    assert np.abs(pixels(Image.new("LA", (2, 2), (0, 128))) - 127).max() <= 1
    assert pixels(Image.new("LA", (2, 2), (0, 128)).convert("PA")).max() <= 128
    assert pixels(half.convert("RGBa")).min() == 127
    assert pixels(np.zeros((3, 3, 4), np.uint8)).min() == 255


def test_a_transparent_colour_lies_over_white():
    grey = Image.fromarray(np.array([[10, 20], [30, 40]], np.uint8))
    assert pixels(encode(grey, "PNG", transparency=20))[..., 0].tolist() == [[10, 255], [30, 40]]
    colour = Image.new("RGB", (2, 1), (1, 2, 3))
    colour.putpixel((1, 0), (9, 8, 7))
    data = encode(colour, "PNG", transparency=(1, 2, 3))
    assert pixels(data).tolist() == [[[255] * 3, [9, 8, 7]]]
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.putpixel((1, 0), 1)
    for kind in ("PNG", "GIF"):
        data = encode(palette, kind, transparency=0)
        assert pixels(data).tolist() == [[[255] * 3, [0, 255, 0]]]
    wide = Image.fromarray(np.array([[0, 65535]], np.uint16))
    assert pixels(encode(wide, "PNG", transparency=0)).min() == 255


def test_simple_modes_keep_their_colours():
    for mode, kind in [("1", "PNG"), ("L", "JPEG"), ("P", "GIF"), ("1", "TIFF"), ("L", "PPM")]:
        image = Image.new("RGB", (8, 8), "white").convert(mode)
        assert pixels(encode(image, kind)).min() >= 250
    photo = Image.fromarray(UPRIGHT)
    for mode in ("YCbCr", "HSV", "RGBX"):
        assert np.abs(pixels(photo.convert(mode)) - UPRIGHT).max() <= 6
    for kind in ("BMP", "TIFF", "PPM", "JPEG2000", "PNG"):
        assert np.abs(pixels(encode(photo, kind)) - UPRIGHT).max() <= 1


def test_cmyk_and_adobe_inverted_cmyk_are_not_negatives():
    cmyk = Image.fromarray(UPRIGHT).convert("CMYK")
    inverted = encode(cmyk, "JPEG", quality=95)  # PIL writes the Adobe marker: stored inverted
    assert b"Adobe" in inverted
    for data in (inverted, encode(cmyk, "TIFF")):
        assert np.abs(pixels(data) - UPRIGHT).mean() < 12


def test_lab_becomes_the_colour_it_names():
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    image = ImageCms.profileToProfile(Image.fromarray(UPRIGHT), srgb, lab, outputMode="LAB")
    assert np.abs(pixels(encode(image, "TIFF")) - UPRIGHT).max() < 16


def srgb_with(gamma=None):
    """The sRGB profile of littleCMS, or one that calls itself sRGB and has another curve."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    if gamma is None:
        return profile
    at = profile.index(b"para", 128)
    curve = b"\0\0\0\0" + struct.pack(">i", round(gamma * 65536))
    return profile[: at + 8] + curve + profile[at + 16 :]


def test_a_colour_profile_is_judged_by_its_content_not_its_name():
    linear = srgb_with(1.0)  # makes mid grey lighter in sRGB
    nameless = [
        profile.replace(b"sRGB", b"flat").replace("sRGB".encode("utf-16-be"), b"f" * 8)
        for profile in (srgb_with(), linear)
    ]
    assert b"sRGB" in linear or "sRGB".encode("utf-16-be") in linear
    grey = Image.new("RGB", (4, 4), (100, 100, 100))
    for kind in ("PNG", "TIFF", "JPEG", "WEBP"):
        for profile in (linear, nameless[1]):
            assert pixels(encode(grey, kind, icc_profile=profile)).mean() > 140
        for profile in (srgb_with(), nameless[0], srgb_with(2.2)[:100], b"no profile at all"):
            assert abs(pixels(encode(grey, kind, icc_profile=profile)).mean() - 100) < 1.5
    assert pixels(encode(grey, "PNG", icc_profile=srgb_with())).mean() == 100
    colours = Image.fromarray(UPRIGHT)
    assert (pixels(encode(colours, "PNG", icc_profile=srgb_with())) == UPRIGHT).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PIL", "numpy"])
def test_16_bit_grey_is_scaled_by_its_range(kind):
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    make = {"PIL": Image.fromarray, "numpy": np.copy}.get(kind, lambda values: encode(values, kind))
    source = make(ramp)
    assert np.abs(pixels(source)[..., 0] - ramp / 257).max() <= 0.5


def test_wide_grey_is_neither_clipped_white_nor_black():
    ramp = np.arange(64).reshape(8, 8) / 63
    for values in (
        (ramp * 65535).astype(np.int32),
        (ramp * 4095).astype(np.int32),
        (ramp * 255).astype(np.int32),
        (ramp * 2_000_000).astype(np.int32),
        (ramp * 2_000_000 - 1_000_000).astype(np.int32),
        ramp.astype(np.float32),
        (ramp * 1.02).astype(np.float32),
        (ramp * 255).astype(np.float32),
        (ramp * 70000 - 3).astype(np.float32),
    ):
        for source in (Image.fromarray(values), encode(values, "TIFF")):
            assert np.abs(pixels(source)[..., 0] - ramp * 255).max() <= 3
    assert pixels(Image.new("F", (3, 3), 0.0)).max() == 0
    dark = Image.fromarray(np.full((4, 4), 2570, np.uint16))
    assert pixels(encode(dark, "PNG")).max() == 10  # a PNG's white is 65535, also in the dark
    assert "not numbers" in refusal(encode(np.full((3, 3), np.nan, np.float32), "TIFF"))


def test_the_first_frame_of_an_animation():
    red, blue = Image.new("RGB", (9, 7), (255, 0, 0)), Image.new("RGB", (9, 7), (0, 0, 255))
    for kind in ("GIF", "WEBP", "PNG", "TIFF", "AVIF"):
        data = encode(red, kind, save_all=True, append_images=[blue])
        assert np.abs(pixels(data) - (255, 0, 0)).max() < 12, kind


def test_a_decoder_that_cannot_be_loaded_is_not_the_photo_s_fault(monkeypatch):
    def unloadable(module):
        path = f"/lib/_pillow_heif{EXTENSION_SUFFIXES[0]}"
        raise ImportError("failed to map segment from shared object", path=path)

    monkeypatch.setattr(importlib, "import_module", unloadable)
    with pytest.raises(ImportError, match="failed to map segment"):
        load_photo(b"\0\0\0\x18ftypheic" + bytes(64), min_side=1)


def test_heic_without_its_decoder_says_what_to_install(monkeypatch):
    data = encode(UPRIGHT, "HEIF")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert 'pip install "captioner[heic]"' in refusal(data)


# Sources ------------------------------------------------------------------------------------------


def test_every_source_of_the_same_photo_gives_the_same_pixels(tmp_path):
    torch = pytest.importorskip("torch")
    data = encode(UPRIGHT, "PNG")
    path = tmp_path / "a photo.png"
    path.write_bytes(data)
    chw = torch.from_numpy(np.moveaxis(UPRIGHT, -1, 0).copy())
    sources = [path, str(path), data, bytearray(data), memoryview(data), io.BytesIO(data)]
    sources += [Image.open(path), Image.fromarray(UPRIGHT), UPRIGHT, UPRIGHT / 255.0]
    sources += [UPRIGHT.astype(np.uint16) * 257, (UPRIGHT / 255).astype(np.float32)[:, ::1]]
    sources += [chw, chw / 255, (chw / 255).double().requires_grad_()]
    with path.open("rb") as stream:
        stream.read(7)  # read from its start all the same
        for source in [*sources, stream]:
            assert (pixels(source) == UPRIGHT).all()
            assert (load_photo(source).width, load_photo(source).height) == (40, 24)
    grey = UPRIGHT[:, :, 0]
    for source in (grey, grey[..., None], torch.from_numpy(grey.copy())[None], grey / 255):
        assert (pixels(source) == grey[..., None]).all()
    assert pixels(grey > 100).max() == 255 and pixels(grey > 100).min() == 0
    assert np.abs(pixels((chw / 255).bfloat16()) - UPRIGHT).max() <= 1
    photo = load_photo(path)
    assert photo.name == "a photo.png" and load_photo(photo) is photo
    assert load_photo(data).name == "photo" and load_photo(Image.open(path)).name == "a photo.png"


def test_the_callers_image_is_left_alone():
    mine = Image.fromarray(UPRIGHT)
    photo = load_photo(mine)
    photo.image.putpixel((0, 0), (0, 0, 0))
    assert mine.getpixel((0, 0)) == (200, 30, 30)


@pytest.mark.parametrize(
    ("array", "word"),
    [
        (np.zeros((3, 20, 30), np.uint8), "np.moveaxis"),
        (np.zeros((2, 20, 30, 3), np.uint8), "one by one"),
        (np.zeros((20,), np.uint8), "shape (20,)"),
        (np.zeros((20, 30, 2), np.uint8), "(20, 30, 2)"),
        (np.zeros((0, 30, 3), np.uint8), "no pixels"),
        (np.zeros((20, 30), np.int64), "int64"),
        (np.zeros((20, 30), complex), "complex128"),
        (np.zeros((20, 30), object), "object"),
        (np.full((20, 30), 255.0), "0..1"),
        (np.full((20, 30), -0.5), "0..1"),
        (np.full((20, 30), np.nan), "not numbers"),
        (np.full((20, 30), np.inf, np.float16), "not numbers"),
    ],
)
def test_arrays_that_are_no_photo(array, word):
    assert word in refusal(array)


def test_tensors_that_are_no_photo():
    torch = pytest.importorskip("torch")
    for shape, dtype in [((20, 30, 3), torch.uint8), ((1, 3, 9, 9), torch.uint8)]:
        assert str(shape) in refusal(torch.zeros(shape, dtype=dtype))
    assert "int64" in refusal(torch.zeros((3, 9, 9), dtype=torch.int64))
    assert "0..1" in refusal(torch.randn(3, 9, 9) * 3)
    assert "not numbers" in refusal(torch.full((3, 9, 9), float("nan")))
    assert "no pixels" in refusal(torch.zeros((3, 0, 9)))
    assert refusal(torch.zeros((3, 9, 9), device="meta"))


def test_neither_torch_nor_a_decoder_is_imported_before_it_is_needed():
    code = (
        "import sys, captioner.photos, captioner.render;"
        "print([m for m in ('torch', 'matplotlib', 'pillow_heif', 'PIL.ImageCms',"
        " 'PIL.TiffImagePlugin') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# Refusals -----------------------------------------------------------------------------------------


def test_paths_that_are_no_photo(tmp_path):
    empty = tmp_path / "empty.jpg"
    empty.touch()
    note = tmp_path / "note.jpg"
    note.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:12\n")
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    loop = tmp_path / "loop.jpg"
    loop.symlink_to(loop)
    for path, word in [
        (empty, "empty (0 bytes)"),
        (note, "text file that starts with 'version https://git-lfs"),
        (pipe, "pipe"),  # and it does not wait for a writer
        (loop, "cannot be opened"),
        (tmp_path, "folder"),
        (tmp_path / "gone.jpg", "does not exist"),
        (note / "inside.jpg", "does not exist"),
        (tmp_path / ("x" * 3000), "does not exist"),
    ]:
        sentence = refusal(path)
        assert word in sentence and path.name in sentence
    assert "web address" in refusal("https://example.org/cat.jpg")
    assert refusal("") and refusal("a\0b.jpg") and refusal("\udce4.jpg") and refusal(b"")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path):
    path = tmp_path / "secret.jpg"
    path.write_bytes(encode(UPRIGHT, "JPEG"))
    path.chmod(0)
    assert "no permission" in refusal(path)


def test_a_refused_permission_is_told(tmp_path, monkeypatch):
    path = tmp_path / "secret.jpg"
    path.write_bytes(encode(UPRIGHT, "JPEG"))

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert refusal(path) == f"{path} cannot be opened: no permission to read it."


def test_sources_that_are_no_photo():
    class Broken(io.RawIOBase):
        def read(self, *_):
            raise ConnectionResetError(104, "Connection reset by peer")

    assert "text" in refusal(io.StringIO("x"))
    assert "Connection reset" in refusal(Broken())
    for source in (None, 3, object(), ["a.jpg"], {}):
        assert "cannot be made from" in refusal(source)
    closed = Image.open(io.BytesIO(encode(UPRIGHT, "PNG")))
    closed.close()
    assert refusal(closed)
    assert refusal(Image.open(io.BytesIO(encode(UPRIGHT, "JPEG")[:-200])))
    assert "no pixels" in refusal(Image.new("RGB", (0, 5)))


@pytest.mark.parametrize(
    ("start", "word"),
    [
        (b"%PDF-1.7", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF", "PostScript"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"\0\0\0\x20ftypisom" + bytes(20), "video"),
        (b"\xff\x0a" + bytes(20), "JPEG XL"),
        (bytes(100), "zeros"),
        ("Grüße, ".encode() * 100, "text"),
        (b"\x93\x01\x02\x03\x04", "starts with the bytes 93 01"),
    ],
)
def test_what_is_no_photo_is_told_by_its_look(start, word):
    assert word in refusal(start)


KINDS = ["JPEG", "PNG", "GIF", "WEBP", "AVIF", "HEIF", "TIFF", "BMP", "JPEG2000", "PPM"]


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_files_are_refused(kind, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    data = encode(noise, kind)
    path = tmp_path / "half.bin"
    for part in (0.1, 0.5, 0.9):
        path.write_bytes(data[: int(len(data) * part)])
        assert "half.bin" in refusal(path)


def test_a_small_file_that_unpacks_to_a_huge_picture_is_refused_before_it_is_decoded():
    def png(width, height):
        header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        crc = struct.pack(">I", zlib.crc32(header))
        start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + crc
        return start + encode(UPRIGHT, "PNG")[33:]

    assert "200,000,000 are allowed" in refusal(png(50_000, 50_000))
    assert "a side may have" in refusal(png(2_000_000_000, 1))
    webp = b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + b"\xff\xff\xff\xff\xff\xff"
    assert "a side may have" in refusal(webp)
    data = encode(UPRIGHT, "PNG")
    assert "959" in refusal(data, limits=Limits(max_pixels=959))
    assert "side" in refusal(Image.fromarray(UPRIGHT), limits=Limits(max_side=39))
    assert "too large" in refusal(io.BytesIO(data), limits=Limits(max_bytes=50))
    assert "too large" in refusal(data, limits=Limits(max_bytes=50))


@pytest.mark.slow
def test_large_photos_and_strips_load_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind, options in [("PNG", {}), ("TIFF", {"compression": "group4"})]:
            large = encode(Image.new("1", (13000, 7500)), kind, **options)  # PIL warns from 89 MP
            photo = load_photo(large, min_side=260)
            assert (photo.width, photo.height) == (13000, 7500) and photo.image.height < 1000
        strip = load_photo(encode(Image.new("RGB", (30000, 1), "red"), "PNG"), min_side=260)
        assert strip.image.size == (30000, 1)
        assert (to_square(strip, 32) == (255, 0, 0)).all()
        assert (to_square(load_photo(Image.new("RGB", (1, 1), "red")), 8) == (255, 0, 0)).all()


def test_pils_global_state_is_neither_used_nor_changed(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # what another library may have set
    known = set(Image.OPEN)
    for kind in ("PNG", "TIFF", "GIF"):
        assert load_photo(encode(UPRIGHT, kind)).width == 40
    assert set(Image.OPEN) == known and Image.MAX_IMAGE_PIXELS == 10
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_many_threads_load_at_once():
    data, results = encode(UPRIGHT, "JPEG"), []
    threads = [
        threading.Thread(target=lambda: results.append(to_square(load_photo(data), 16)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8 and all((one == results[0]).all() for one in results)


SAMPLES = {kind: encode(UPRIGHT, kind) for kind in KINDS if kind != "HEIF"}


@settings(max_examples=250, deadline=None)
@given(
    kind=st.sampled_from(sorted(SAMPLES)),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
    end=st.floats(0, 1),
    min_side=st.sampled_from([None, 5]),
)
@pytest.mark.filterwarnings("ignore")
def test_nothing_but_a_photo_error_leaves_for_damaged_files(kind, flips, end, min_side):
    data = bytearray(SAMPLES[kind])
    for place, value in flips:
        data[int(place**2 * len(data))] = value  # squared: headers break in more ways
    if end < 0.5:
        data = data[: int(2 * end * len(data))]
    try:
        photo = load_photo(bytes(data), min_side=min_side)
    except PhotoError as error:
        assert "\n" not in str(error)
    else:
        assert photo.image.mode == "RGB" and photo.width > 0


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=300))
def test_nothing_but_a_photo_error_leaves_for_any_bytes(data):
    with pytest.raises(PhotoError):
        load_photo(data)


# Folders ------------------------------------------------------------------------------------------


def test_folders_are_searched_in_order_and_hidden_files_passed_over(tmp_path):
    names = ["b.jpg", "a.PNG", "sub/c.webp", "sub/.d.jpg", ".hid/e.jpg", "n.txt", "Z/q.heic"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "sub" / "again").symlink_to(tmp_path)
    found = [path.relative_to(tmp_path).as_posix() for path in find_photos(tmp_path)]
    assert found == ["a.PNG", "b.jpg", "Z/q.heic", "sub/c.webp"]
    note = tmp_path / "n.txt"
    assert find_photos([note, tmp_path / "b.jpg", str(tmp_path)])[:2] == [note, tmp_path / "b.jpg"]
    assert len(find_photos([tmp_path, tmp_path])) == 4  # nothing twice


def test_paths_without_photos_are_refused(tmp_path):
    with pytest.raises(PhotoError, match="no photos"):
        find_photos([tmp_path])
    with pytest.raises(PhotoError, match="does not exist"):
        find_photos([tmp_path / "gone"])
    with pytest.raises(PhotoError, match="cannot be opened"):
        find_photos("a\0b")


def test_a_photo_is_a_plain_value():
    photo = Photo(Image.new("RGB", (2, 2)), 2, 2)
    assert photo.name == "photo"
