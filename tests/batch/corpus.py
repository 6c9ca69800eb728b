"""A few hundred broken and odd files, the same ones every time: what a disk full of photos holds.

python -m tests.batch.corpus FOLDER      # to look at them
"""

import io
import os
import random
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

SEED = 5


def make_corpus(folder: Path) -> int:
    """Write the files into a folder that does not exist yet; returns how many a job has to account
    for (hidden files, folders and other kinds of file, which it passes over, not counted)."""
    folder.mkdir(parents=True)
    chance = random.Random(SEED)
    files = {
        **_whole(),
        **_truncated(chance),
        **_flipped(chance),
        **_wrong_suffix(),
        **_random(chance),
        **_bombs(),
        **_odd_names(),
    }
    for name, data in files.items():
        with open(os.fsencode(folder) + b"/" + name, "wb") as stream:  # noqa: PTH123 (bytes)
            stream.write(data)
    return len(files) + _not_files(folder)


def _photo(width: int = 96, height: int = 64, mode: str = "RGB") -> Image.Image:
    """A picture with edges and noise, so that every coder has something to do."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = 127 + 60 * np.sin(columns / 7) + 60 * np.cos(rows / 5)
    noise = np.random.default_rng(SEED).normal(0, 8, (height, width))
    grey = (waves + noise).clip(0, 255).astype(np.uint8)
    image = Image.merge("RGB", [Image.fromarray(np.roll(grey, 9 * i, 1)) for i in range(3)])
    return image.convert(mode)


def _save(image: Image.Image, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


KINDS = {
    "jpg": ("JPEG", {"quality": 85}),
    "progressive.jpg": ("JPEG", {"quality": 85, "progressive": True}),
    "png": ("PNG", {}),
    "webp": ("WEBP", {}),
    "lossless.webp": ("WEBP", {"lossless": True}),
    "tif": ("TIFF", {"compression": "tiff_lzw"}),
    "gif": ("GIF", {}),
    "avif": ("AVIF", {}),
    "bmp": ("BMP", {}),
    "jp2": ("JPEG2000", {}),
}


def _kinds() -> dict[str, bytes]:
    from PIL import features

    return {
        suffix: _save(_photo(), format, **options)
        for suffix, (format, options) in KINDS.items()
        if suffix != "avif" or features.check("avif")
    }


def _whole() -> dict[bytes, bytes]:
    """Good photos of every odd kind."""
    frames = [_photo().rotate(20 * i) for i in range(3)]
    moving = {"save_all": True, "append_images": frames[1:]}
    deep = Image.fromarray((np.arange(64 * 96).reshape(64, 96) * 10).astype(np.uint16))
    pictures = {
        "pixel.png": _save(_photo(1, 1), "PNG"),
        "pixel.jpg": _save(_photo(1, 1), "JPEG"),
        "row.png": _save(Image.new("RGB", (30_000, 1), "red"), "PNG"),
        "column.jpg": _save(Image.new("RGB", (1, 30_000), "red"), "JPEG"),
        "cmyk.jpg": _save(_photo(mode="CMYK"), "JPEG"),
        "cmyk.tif": _save(_photo(mode="CMYK"), "TIFF"),
        "grey.jpg": _save(_photo(mode="L"), "JPEG"),
        "deep.png": _save(deep, "PNG"),
        "deep.tif": _save(deep, "TIFF"),
        "float.tif": _save(_photo(mode="F"), "TIFF"),
        "lab.tif": _save(_photo(mode="LAB"), "TIFF"),
        "one-bit.png": _save(_photo(mode="1"), "PNG"),
        "palette.png": _save(_photo(mode="P"), "PNG"),
        "clear.png": _save(_photo(mode="RGBA"), "PNG"),
        "grey-clear.png": _save(_photo(mode="LA"), "PNG"),
        "moving.gif": _save(frames[0], "GIF", **moving),
        "moving.webp": _save(frames[0], "WEBP", **moving),
        "moving.png": _save(frames[0], "PNG", **moving),
        "pages.tif": _save(frames[0], "TIFF", **moving),
        "turned.jpg": _save(_photo(), "JPEG", exif=_exif(6)),
        "bad-turn.jpg": _save(_photo(), "JPEG", exif=_exif(77)),
        "bad-profile.jpg": _save(_photo(), "JPEG", icc_profile=b"no profile" * 9),
    }
    good = {f"good.{suffix}": data for suffix, data in _kinds().items()}
    return {name.encode(): data for name, data in {**pictures, **good}.items()}


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _truncated(chance: random.Random) -> dict[bytes, bytes]:
    """Each kind cut at its first bytes, in its headers, and at places all over."""
    files = {}
    for suffix, data in _kinds().items():
        places = [1, 3, 11, 20, 33, len(data) - 1, len(data) - 2]
        places += [chance.randrange(40, len(data) - 2) for _ in range(6)]
        for place in places:
            files[f"cut-{place:06}.{suffix}".encode()] = data[:place]
    return files


def _flipped(chance: random.Random) -> dict[bytes, bytes]:
    files = {}
    for suffix, data in _kinds().items():
        for number in range(8):
            damaged = bytearray(data)
            for _ in range(chance.choice((1, 4, 30))):
                damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
            files[f"flip-{number}.{suffix}".encode()] = bytes(damaged)
    return files


def _wrong_suffix() -> dict[bytes, bytes]:
    kinds = _kinds()
    return {
        b"really-png.jpg": kinds["png"],
        b"really-jpeg.png": kinds["jpg"],
        b"really-webp.gif": kinds["webp"],
        b"text.jpg": b"This is no photo.\n",
        b"page.png": b"<!DOCTYPE html><title>404</title>",
        b"drawing.webp": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"document.jpg": b"%PDF-1.7\n%\xe2\xe3",
        b"archive.jpg": b"PK\x03\x04" + bytes(60),
        b"program.png": b"\x7fELF" + bytes(60),
        b"script.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"UPPER.JPG": kinds["jpg"],
        b"two.dots.jpg": kinds["jpg"],
    }


def _random(chance: random.Random) -> dict[bytes, bytes]:
    starts = (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"BM")
    noise = {
        f"noise-{i:02}.jpg".encode(): starts[i % len(starts)]
        + chance.randbytes(chance.randrange(1, 5000))
        for i in range(36)
    }
    zeros = {f"zeros-{n}.jpg".encode(): bytes(n) for n in (0, 1, 512, 100_000)}
    return {**noise, **zeros, b"empty.png": b"", b"empty.tif": b"", b"empty.webp": b""}


def _bombs() -> dict[bytes, bytes]:
    """Small files that promise, or hold, more pixels than memory."""
    huge = struct.pack(">II", 60_000, 60_000)
    many = _png(huge, zlib.compress(bytes(10_000_000)))
    wide = _png(struct.pack(">II", 2**31 - 1, 1), zlib.compress(b"\0"))
    jpeg = bytearray(_save(_photo(), "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    big = _save(Image.new("1", (10_000, 10_000)), "PNG")  # 100 megapixels in 12 kB: allowed
    text = io.BytesIO()
    _photo().save(text, "PNG", pnginfo=_long_text())
    return {
        b"bomb.png": many,
        b"bomb-wide.png": wide,
        b"bomb.jpg": bytes(jpeg),
        b"bomb.gif": b"GIF89a\xff\xff\xff\xff\x00\x00\x00" + bytes(40),
        b"bomb.bmp": b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 90_000, 90_000, 1, 24, 0),
        b"big.png": big,
        b"bomb-text.png": text.getvalue(),
    }


def _png(size: bytes, pixels: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", size + bytes((8, 2, 0, 0, 0)))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _long_text():  # type: ignore[no-untyped-def]
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Comment", "x" * 900_000, zip=True)
    return info


def _odd_names() -> dict[bytes, bytes]:
    photo = _save(_photo(), "JPEG")
    names = [
        b"new\nline.jpg", b"tab\there.jpg", b"quote'\".jpg", b"-dash.jpg", b"=1+1.jpg",
        b" space .jpg", "ünï 猫.jpg".encode(), b"latin-\xe9.jpg", b"\xff\xfe.jpg", b"%s%n.jpg",
        b"back\\slash.jpg", b"x" * 250 + b".jpg",
    ]  # fmt: skip
    return dict.fromkeys(names, photo)


def _not_files(folder: Path) -> int:
    """Folders named like photos, links that lead nowhere or round and round, a pipe, a file that
    may not be read. Returns how many of them are to be accounted for."""
    (folder / "folder.jpg").mkdir()
    (folder / "folder.jpg" / "inside.png").write_bytes(_save(_photo(), "PNG"))
    (folder / "round").symlink_to(folder, target_is_directory=True)
    (folder / "dangling.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "itself.jpg").symlink_to(folder / "itself.jpg")
    os.mkfifo(folder / "pipe.jpg")
    locked = folder / "locked.jpg"
    locked.write_bytes(_save(_photo(), "JPEG"))
    locked.chmod(0)
    (folder / ".hidden.jpg").write_bytes(b"")
    (folder / "notes.txt").write_text("no photo")
    return 5


if __name__ == "__main__":
    print(make_corpus(Path(sys.argv[1])), "files to account for")
