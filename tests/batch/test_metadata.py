"""The caption goes into the photo and nothing else of the photo changes; a person's own stays."""

import hashlib
import io
import os
import random
import shutil

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageSequence
from PIL.PngImagePlugin import PngInfo

from captioner.batch import iptc, metadata
from captioner.batch.containers import parts, tiff_tags
from captioner.batch.descriptions import Description, find_description, texts
from captioner.batch.metadata import Described, WriteMetadata
from captioner.batch.older_places import exif_of, is_exif, is_photoshop
from captioner.batch.xmp import is_packet
from captioner.errors import PhotoError

exiv2 = pytest.importorskip("pyexiv2", reason="pyexiv2, which reads what was written, is missing")
CAPTION = 'A cat "on" a mat – ünï.'
FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "tif": "TIFF"}


def picture(seed=0, mode="RGB"):
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def saved(image, format, **options):
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


@pytest.fixture(params=FORMATS)
def photo(request, tmp_path):
    path = tmp_path / f"photo.{request.param}"
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    path.write_bytes(saved(picture(), FORMATS[request.param], exif=exif))
    return path


def has_description(path):
    return find_description(path.read_bytes()) is not None


def write(path, caption=CAPTION, **options):
    WriteMetadata(**options)(Described(str(path), path, caption))


def xmp(path):
    with exiv2.ImageData(path.read_bytes()) as image:
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


@pytest.mark.parametrize("exif", [None, "MM", "II"])
@pytest.mark.parametrize("caption", [CAPTION, "A cat.", "Ok"])
@pytest.mark.parametrize("suffix", FORMATS)
def test_older_programs_find_it_too(tmp_path, suffix, exif, caption):
    path = tmp_path / f"photo.{suffix}"
    made = Image.Exif()
    if exif:
        made.endian = "<" if exif == "II" else ">"
        made[0x010F], made[0x0112] = "A camera", 6
    path.write_bytes(saved(picture(), FORMATS[suffix], exif=made.tobytes() if exif else b""))
    write(path, caption)
    with exiv2.ImageData(path.read_bytes()) as image:
        said, old = image.read_exif(), image.read_iptc()
    assert said["Exif.Image.ImageDescription"] == caption
    assert not exif or said["Exif.Image.Make"] == "A camera"
    with Image.open(path) as image:
        assert image.getexif()[0x010E].encode("latin-1").decode() == caption
        assert not exif or image.getexif()[0x0112] == 6
    assert old.get("Iptc.Application2.Caption") == (caption if suffix == "jpg" else None)
    first = path.read_bytes()
    write(path, caption)
    assert path.read_bytes() == first, "the same again changes nothing"
    write(path, "Another.", overwrite=True)
    assert set(texts(path.read_bytes()).values()) == {"Another."}, "what is ours is replaced"


def photoshop(*resources):
    """A JPEG with Photoshop's resources: (number, content) each."""
    content = iptc.START + b"".join(iptc._resource(*one) for one in resources)
    data = saved(picture(), "JPEG")
    return data[:2] + b"\xff\xed" + (len(content) + 2).to_bytes(2, "big") + content + data[2:]


def resources_of(data):
    [part] = filter(is_photoshop, parts(data))
    return {one.number: one.content for one in iptc.resources(part.content[len(iptc.START) :])}


BY_LINE = b"\x1c\x02\x50\x00\x03Ann"
BLANK = b"\x1c\x02\x78\x00\x03   "
THUMB = b"\x1c\x08\x0a\x00\x03abc"


@pytest.mark.parametrize("in_step", [True, False])
def test_other_iptc_and_photoshop_s_resources_stay(tmp_path, in_step):
    path, old = tmp_path / "photo.jpg", BY_LINE + BLANK + THUMB
    digest = hashlib.md5(old).digest() if in_step else b"x" * 16
    path.write_bytes(photoshop((1005, b"odd"), (iptc.IPTC, old), (iptc.DIGEST, digest)))
    write(path, "A cat.")
    found = resources_of(path.read_bytes())
    new = BY_LINE + b"\x1c\x02\x78\x00\x06A cat." + THUMB
    assert found[1005] == b"odd" and found[iptc.IPTC] == new
    assert found[iptc.DIGEST] == (hashlib.md5(new).digest() if in_step else digest)


@pytest.mark.parametrize(
    "old, caption",
    [
        (BY_LINE, CAPTION),  # whose letters nobody names
        (BY_LINE, "A cat. " * 300),
        (BY_LINE + b"damaged", "A cat."),
    ],
)
def test_iptc_without_room_for_the_caption_stays(tmp_path, old, caption):
    path = tmp_path / "photo.jpg"
    path.write_bytes(photoshop((iptc.IPTC, old)))
    write(path, caption)
    assert resources_of(path.read_bytes()) == {iptc.IPTC: old}
    assert texts(path.read_bytes()).keys() == {"XMP dc:description", "EXIF ImageDescription"}


def test_exif_that_is_damaged_or_full_stays(tmp_path):
    path = tmp_path / "photo.jpg"
    full = Image.Exif()
    full.get_ifd(0x8769)[0x927C] = bytes(65_470)
    for exif in (b"Exif\0\0no Exif at all", b"Exif\0\0MM\0*\0\0\0\x08\0\x09", full):
        path.write_bytes(saved(picture(), "JPEG", exif=exif))
        [before] = [bytes(p.content) for p in parts(path.read_bytes()) if is_exif(p)]
        write(path)
        [after] = [bytes(p.content) for p in parts(path.read_bytes()) if is_exif(p)]
        assert after == before and find_description(path.read_bytes())


# What a file may hold besides a picture -----------------------------------------------------------

RICH = """<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF
 xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'><rdf:Description rdf:about='uuid:1'
 xmlns:xmp='http://ns.adobe.com/xap/1.0/' xmlns:my='http://my.example/' xmp:Rating='5'
 xmlns:dc='http://purl.org/dc/elements/1.1/' my:odd='1 &amp; 2'>
 <dc:title><rdf:Alt><rdf:li xml:lang='x-default'>T</rdf:li><rdf:li xml:lang='de'>Tä</rdf:li>
 </rdf:Alt></dc:title><dc:subject><rdf:Bag><rdf:li>a</rdf:li><rdf:li>b</rdf:li></rdf:Bag>
 </dc:subject><my:deep rdf:parseType='Resource'><my:a>1</my:a><my:b rdf:resource='http://x/y'/>
 </my:deep><my:lines>one
two</my:lines></rdf:Description></rdf:RDF></x:xmpmeta>"""


def rich_exif():
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "A camera", 1
    exif.get_ifd(0x8769)[0x927C] = b"Maker's\0notes" * 9
    return exif


def files():
    """Name, and a file that holds more than its first picture."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    text = PngInfo()
    text.add_text("Author", "Ann")
    text.add_itxt("Title", "Bild", "de", "Titel")
    text.add(b"prVt", b"a program's own")
    whole = {"exif": rich_exif(), "icc_profile": profile}
    more = {"save_all": True, "append_images": [picture(i) for i in range(1, 8)]}
    jpeg = saved(picture(), "JPEG", **whole, comment=b"gd-jpeg v1.0")
    yield "8 pages.tif", saved(picture(), "TIFF", **more)
    five = {**more, "append_images": more["append_images"][:4]}
    three = {**more, "append_images": more["append_images"][:2]}
    yield "5 pages.tif", saved(picture(), "TIFF", compression="tiff_lzw", **five)
    yield "whole.tif", saved(picture(), "TIFF", **whole)
    yield "whole.jpg", jpeg
    yield "further pictures.jpg", saved(picture(), "MPO", **three, exif=rich_exif())
    yield "a video behind it.jpg", jpeg + b"\0\0\0\x18ftypmp42" * 99
    yield "no profile.jpg", saved(picture(), "JPEG", icc_profile=b"no profile" * 9)
    yield "whole.png", saved(picture(), "PNG", **whole, pnginfo=text)
    yield "moving.png", saved(picture(), "PNG", **more)
    yield "behind it.png", saved(picture(), "PNG") + b"more"
    yield "plain.webp", saved(picture(), "WEBP")
    yield "clear.webp", saved(clear(), "WEBP", lossless=True)
    yield "whole.webp", saved(picture(), "WEBP", **whole)
    yield "moving.webp", saved(picture(), "WEBP", **more)
    for suffix, format in FORMATS.items():
        packet = RICH.encode()
        yield f"xmp.{suffix}", with_packet(saved(picture(), format), packet)
    tifffile = pytest.importorskip("tifffile")
    for kind in ({"bigtiff": True}, {"byteorder": ">"}):
        stream = io.BytesIO()
        with tifffile.TiffWriter(stream, **kind) as file:
            for _ in range(6):
                file.write(np.asarray(picture()), tile=(16, 16), subifds=1, metadata=None)
                file.write(np.asarray(picture(1))[::2], subfiletype=1, metadata=None)
        yield f"{next(iter(kind))}.tif", stream.getvalue()


def clear():
    image = picture(mode="RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def with_packet(data, packet):
    from captioner.batch.xmp import embed

    return embed(data, packet)


@pytest.mark.parametrize("name, data", list(files()), ids=lambda x: x if isinstance(x, str) else "")
def test_nothing_that_a_file_holds_is_lost(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    write(path)
    new = path.read_bytes()
    assert find_description(new) == ("XMP dc:description", CAPTION)
    with Image.open(io.BytesIO(data)) as before, Image.open(io.BytesIO(new)) as after:
        assert getattr(after, "n_frames", 1) == getattr(before, "n_frames", 1)
        for one, other in zip(
            ImageSequence.Iterator(before), ImageSequence.Iterator(after), strict=True
        ):
            assert one.tobytes() == other.tobytes() and one.mode == other.mode
        assert before.info.get("icc_profile") == after.info.get("icc_profile")
        assert dict(before.getexif().get_ifd(0x8769)) == dict(after.getexif().get_ifd(0x8769))

    def rest(content):
        """All but what is written: XMP, ImageDescription, and the IPTC that none of these has."""
        return [
            (kind, bytes(content))
            for part in parts(content)
            if not is_packet(part) and part.kind not in ("VP8X", "FFED")
            for kind, content, *_ in (
                tiff_tags(memoryview(exif_of(part))) if is_exif(part) else [part]
            )
            if kind != "0/270"
        ]

    assert rest(data) == rest(new)
    if name.startswith("xmp."):
        said = xmp(path)
        assert said.pop("Xmp.dc.description") == {'lang="x-default"': CAPTION}
        path.write_bytes(data)
        assert said == xmp(path) and said["Xmp.xmp.Rating"] == "5" and len(said) >= 7
    write(path)
    write(path, "Another.", overwrite=True)
    assert rest(data) == rest(path.read_bytes())


def test_what_would_lose_something_is_refused_and_the_photo_stays(tmp_path, monkeypatch):
    path = tmp_path / "pages.tif"
    pages = [picture(i) for i in range(3)]
    path.write_bytes(saved(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    before = path.read_bytes()
    monkeypatch.setattr(metadata, "embed", lambda data, packet: saved(pages[0], "TIFF"))
    with pytest.raises(PhotoError, match=r"not written into .*pages\.tif: parts .* would be lost"):
        write(path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "packet, why",
    [
        (b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><no end", "its XMP is damaged"),
        (b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "its XMP has a document type"),
        (RICH.replace("1 &amp; 2", "long " * 12_960).encode(), "more than a JPEG has room for"),
    ],
)
def test_xmp_that_cannot_be_kept_is_told(tmp_path, packet, why):
    path = tmp_path / "photo.jpg"
    path.write_bytes(with_packet(saved(picture(), "JPEG"), packet))
    before = path.read_bytes()
    with pytest.raises(PhotoError, match=why):
        write(path, "A cat on a mat. " * 9)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_broken_files_are_sentences_or_whole(tmp_path):
    """Flipped and missing bytes: a sentence, and the photo as it was, or all that it held."""
    chance = random.Random(3)
    path = tmp_path / "photo"
    for _name, data in files():
        for _ in range(12):
            damaged = bytearray(data)
            for _ in range(chance.choice((1, 3, 20))):
                damaged[chance.randrange(min(len(damaged), 1500))] ^= 1 << chance.randrange(8)
            damaged = bytes(damaged[: chance.choice((len(data), chance.randrange(len(data))))])
            find_description(damaged)
            path.write_bytes(damaged)
            try:
                write(path, overwrite=True)
            except PhotoError as error:
                assert str(error).startswith("The caption was not written into")
                assert path.read_bytes() == damaged
            else:
                assert find_description(path.read_bytes()) == ("XMP dc:description", CAPTION)


# What is there already ----------------------------------------------------------------------------


def test_another_description_stays_unless_it_is_to_be_overwritten(photo):
    write(photo, "Grandmother, 1962")
    after_first = photo.read_bytes()
    with pytest.raises(PhotoError, match=r"a description already, in XMP dc:desc.*Grandmother"):
        write(photo)
    assert photo.read_bytes() == after_first
    write(photo, "Grandmother, 1962")  # the same again changes nothing
    assert photo.read_bytes() == after_first
    write(photo, overwrite=True)
    assert xmp(photo)["Xmp.dc.description"] == {'lang="x-default"': CAPTION}
    assert not has_description(photo.with_name(photo.name + "_original")), "the first one is kept"


def test_descriptions_in_other_languages_stay(photo):
    with exiv2.Image(str(photo)) as image:
        image.modify_xmp({"Xmp.dc.description": {'lang="x-default"': "Oma", 'lang="de"': "Omi"}})
    with pytest.raises(PhotoError, match="Oma"):
        write(photo)
    write(photo, overwrite=True)
    expected = {'lang="x-default"': CAPTION, 'lang="de"': "Omi"}
    assert xmp(photo)["Xmp.dc.description"] == expected


def test_another_alternative_text_stays(photo):
    with exiv2.Image(str(photo)) as image:
        image.modify_xmp({"Xmp.iptc.AltTextAccessibility": {'lang="x-default"': "For the blind"}})
    with pytest.raises(PhotoError, match=r"alternative text already \('For the blind'\)"):
        write(photo, alt_text=True)
    write(photo)
    assert xmp(photo)["Xmp.iptc.AltTextAccessibility"] == {'lang="x-default"': "For the blind"}


def by_exiv2(kind, key, value):
    def put(path):
        with exiv2.Image(str(path)) as image:
            getattr(image, f"modify_{kind}")({key: value})

    return put


def png_text(keyword, **options):
    def put(path):
        info = PngInfo()
        if options.pop("international", False):
            info.add_itxt(keyword, PERSONS, "de", keyword, **options)
        else:
            info.add_text(keyword, PERSONS, **options)
        path.write_bytes(saved(picture(), "PNG", pnginfo=info))

    return put


def raw_comment(code, text, tag=0x9286, format="JPEG"):
    """Exif written by hand: type 7, which Pillow does not write."""

    def put(path):
        content = code + text
        head = b"MM\0*\0\0\0\x08" + b"\0\x01" + b"\x87\x69\0\x04\0\0\0\x01\0\0\0\x1a" + bytes(4)
        entry = tag.to_bytes(2, "big") + b"\0\x07" + len(content).to_bytes(4, "big")
        exif = head + b"\0\x01" + entry + b"\0\0\0\x2c" + bytes(4) + content
        path.write_bytes(saved(picture(), format, exif=b"Exif\0\0" + exif))

    return put


def exif_tag(tag, value, format):
    def put(path):
        exif = Image.Exif()
        exif[tag] = value
        path.write_bytes(saved(picture(), format, exif=exif))

    return put


def commented(format):
    return lambda path: path.write_bytes(saved(picture(), format, comment=PERSONS.encode()))


PERSONS = "Grandmother Ünal, 1962"
PLACES = [
    ("jpg", by_exiv2("iptc", "Iptc.Application2.Caption", PERSONS), "IPTC Caption-Abstract"),
    ("tif", by_exiv2("iptc", "Iptc.Application2.Caption", PERSONS), "IPTC Caption-Abstract"),
    ("png", by_exiv2("iptc", "Iptc.Application2.Caption", PERSONS), "IPTC Caption-Abstract"),
    *(
        (suffix, by_exiv2("exif", f"Exif.{key}", value), f"EXIF {key.partition('.')[2]}")
        for suffix in FORMATS
        for key, value in (
            ("Image.ImageDescription", PERSONS),
            ("Photo.UserComment", f"charset=Unicode {PERSONS}"),
            ("Image.XPComment", PERSONS),
        )
    ),
    ("avif", exif_tag(0x9C9C, PERSONS.encode("utf-16-le"), "AVIF"), "EXIF XPComment"),
    ("jpg", raw_comment(b"UNICODE\0", PERSONS.encode("utf-16-be")), "EXIF UserComment"),
    ("jpg", raw_comment(b"UNICODE\0", PERSONS.encode("utf-16-le")), "EXIF UserComment"),
    ("jpg", raw_comment(bytes(8), PERSONS.encode()), "EXIF UserComment"),
    ("webp", raw_comment(bytes(8), PERSONS.encode("cp1252"), format="WEBP"), "EXIF UserComment"),
    ("png", png_text("Description"), "PNG Description"),
    ("png", png_text("Description", zip=True), "PNG Description"),
    ("png", png_text("Description", international=True), "PNG Description"),
    ("png", png_text("Description", international=True, zip=True), "PNG Description"),
    ("png", png_text("Comment"), "PNG Comment"),
    ("jpg", commented("JPEG"), "JPEG comment"),
    ("gif", commented("GIF"), "GIF comment"),
    ("jpg", by_exiv2("xmp", "Xmp.tiff.ImageDescription", PERSONS), "XMP tiff:ImageDescription"),
    ("webp", by_exiv2("xmp", "Xmp.acdsee.notes", PERSONS), "XMP acdsee:notes"),
]


@pytest.mark.parametrize("suffix, put, place", PLACES)
def test_a_persons_caption_is_seen_wherever_it_is(tmp_path, suffix, put, place):
    path = tmp_path / f"photo.{suffix}"
    path.write_bytes(saved(picture(), Image.registered_extensions()[f".{suffix}"]))
    put(path)
    assert find_description(path.read_bytes()) == Description(place, PERSONS)
    if suffix not in FORMATS:
        return
    before = path.read_bytes()
    with pytest.raises(PhotoError, match=rf"description already, in {place} \('Grandmother Ünal"):
        write(path)
    assert path.read_bytes() == before
    write(path, PERSONS)  # the same words are no other description
    write(path, overwrite=True)
    after = texts(path.read_bytes())
    assert after.pop(place) == (PERSONS if place != "XMP dc:description" else CAPTION)
    assert set(after.values()) == {CAPTION}, "those that were empty say what XMP says"


@pytest.mark.parametrize(
    "text",
    [
        "OLYMPUS DIGITAL CAMERA         ", "SONY DSC", "KONICA MINOLTA DIGITAL CAMERA", "default",
        "DCIM\\100MEDIA\\DJI_0012.JPG", "DSC01234", "Exif_JPEG_PICTURE", "Created with GIMP",
        "Processed with VSCO with c1 preset", "oplus_32", "rhdr", "          ", "...", "0",
        '{"mirror":false,"sensor_type":"rear"}', "a5f00d5e11ab00ff",
        "filter: 0; fileterIntensity: 0.0; sceneMode: 8;", "CREATOR: gd-jpeg v1.0, quality = 90",
    ],
)  # fmt: skip
def test_what_cameras_and_programs_write_by_themselves_is_no_caption(tmp_path, text):
    for put in (exif_tag(0x010E, text, "JPEG"), raw_comment(b"ASCII\0\0\0", text.encode())):
        path = tmp_path / "photo.jpg"
        put(path)
        assert not has_description(path)
        path.write_bytes(saved(picture(), "JPEG", comment=text.encode()))
        assert not has_description(path)
        write(path)
        assert has_description(path)


@pytest.mark.parametrize("content", [b"", bytes(40), b" " * 40, b"\0  \0", bytes(range(1, 40))])
@pytest.mark.parametrize("code", [b"ASCII\0\0\0", b"UNICODE\0", bytes(8), b"JIS\0\0\0\0\0"])
def test_an_empty_comment_is_no_caption(tmp_path, code, content):
    path = tmp_path / "photo.jpg"
    raw_comment(code, content)(path)
    assert not has_description(path) or (code == b"UNICODE\0" and content[:1] == b"\1")


@pytest.mark.parametrize(
    "text",
    [
        "Oma", "My new digital camera", "Taken with Dad at the lake", "Made by hand", "❤", "猫",
        "Left: Ann; right: Bob; behind: Tom", "A default setting", "100 years", "Mon chat",
    ],
)  # fmt: skip
def test_what_people_write_is_a_caption(tmp_path, text):
    path = tmp_path / "photo.jpg"
    raw_comment(b"UNICODE\0", text.encode("utf-16-be"))(path)
    assert find_description(path.read_bytes()) == ("EXIF UserComment", text)


# Files --------------------------------------------------------------------------------------------


def test_other_files_are_left_alone_with_a_sentence(tmp_path):
    gif = tmp_path / "x.gif"
    Image.new("L", (9, 9)).save(gif)
    text = tmp_path / "x.jpg"
    text.write_text("no photo")
    raw = tmp_path / "x.nef"
    Image.new("L", (9, 9)).save(raw, "TIFF")
    for path in (gif, text, raw, tmp_path / "gone.jpg"):
        before = path.read_bytes() if path.exists() else None
        with pytest.raises(PhotoError, match="The caption was not written into"):
            write(path)
        assert (path.read_bytes() if path.exists() else None) == before
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(PhotoError, match=r"pipe\.jpg is no ordinary file"):
        write(tmp_path / "pipe.jpg")
    names = ["pipe.jpg", "x.gif", "x.jpg", "x.nef"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names


def test_a_link_stays_a_link(photo, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    real = tmp_path / "elsewhere" / photo.name
    shutil.move(photo, real)
    photo.symlink_to(real)
    write(photo)
    assert photo.is_symlink() and has_description(real)


NAMES = [b"latin-\xe9.jpg", b"\xff\xfe.jpg", b"x" * 251 + b".jpg", b"x" * 255,
         "猫".encode() * 83 + b".jpeg"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=["latin", "bytes", "251", "255", "猫"])
def test_any_name_that_the_file_system_takes(tmp_path, name):
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(before := saved(picture(), "JPEG"))
    write(path)
    write(path, "A dog.", overwrite=True)
    assert find_description(path.read_bytes()) == ("XMP dc:description", "A dog.")
    (kept,) = (p for p in tmp_path.iterdir() if p != path)
    assert kept.read_bytes() == before and kept.name.endswith("_original")
