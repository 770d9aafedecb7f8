"""Metadata that changes no pixel does not change the picture hash; everything else does."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from rembg_watch import picturehash
from rembg_watch.picturehash import hash_photo

SIZE = (40, 30)


def saved(kind, seed=1, mode="RGB", **settings):
    file = io.BytesIO()
    Image.frombytes("L", SIZE, bytes((n * n * seed) % 251 for n in range(1200))).convert(mode).save(
        file, kind, **settings
    )
    return file.getvalue()


def exif(orientation=None, kind=3, count=1, order="<", extra=0):
    """A TIFF header with a maker's name, an orientation where one is given, and as many further entries."""
    entries = [struct.pack(order + "HHI4s", 0x010F, 2, 4, b"me\0\0")] * (extra + 1)
    if orientation is not None:
        value = struct.pack(order + ("HH" if kind == 3 else "I"), *((orientation, 0) if kind == 3 else (orientation,)))
        entries.append(struct.pack(order + "HHI", 0x0112, kind, count) + value)
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(entries))
    return start + b"".join(entries) + bytes(4)


def xmp(orientation=None, form=' tiff:Orientation="%d"'):
    return b"<x:xmpmeta>" + (form % orientation if orientation else "").encode() + b"<dc:subject>shoe</dc:subject>"


def segment(marker, body):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def jpeg(*segments, seed=1, behind=b""):
    plain = saved("JPEG", seed)
    return plain[:2] + b"".join(segment(*one) for one in segments) + plain[2:] + behind


def jpeg_exif(*args, **settings):
    return (0xE1, b"Exif\0\0" + exif(*args, **settings))


def jpeg_xmp(*args, **settings):
    return (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp(*args, **settings))


def chunk(name, body, crc=0):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body) ^ crc)


def png(*chunks, seed=1, last=(), behind=b""):
    """A PNG with chunks behind its header, and others in front of its end."""
    plain = saved("PNG", seed)
    return plain[:33] + b"".join(map(bytes, chunks)) + plain[33:-12] + b"".join(last) + plain[-12:] + behind


def text_xmp(packet, flag=b"\0"):
    return chunk(b"iTXt", b"XML:com.adobe.xmp\0" + flag + b"\0\0\0" + packet)


def webp(seed=1, **settings):
    return saved("WEBP", seed, icc_profile=b"a profile", **settings)


def with_flags(data, flags):
    return data[:20] + bytes([data[20] | flags]) + data[21:]


def picture_hash(data):
    """The picture hash, the same from memory and from files, small or read in many blocks."""
    first = hash_photo(data)
    content, size = first
    assert size == len(data)
    assert len(content) == 66
    assert hash_photo(io.BytesIO(data)) == first
    with pytest.MonkeyPatch.context() as patch:
        for size in (1, 7, 64, 1000):
            if len(data) // size < 3000:
                patch.setattr(picturehash, "_BLOCK", size)
                assert hash_photo(io.BytesIO(data)) == first
    return content


APP13 = (0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\4iptc")
MORE_XMP = (0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(40))
JPEGS = {
    "exif": jpeg(jpeg_exif()),
    "big-endian exif, as stored": jpeg(jpeg_exif(1, order=">")),
    "exif of 200 tags": jpeg(jpeg_exif(1, extra=200)),
    "xmp": jpeg(jpeg_xmp(), MORE_XMP),
    "xmp, as stored": jpeg(jpeg_xmp(1)),
    "comment and iptc": jpeg((0xFE, b"a shoe"), APP13),
    "all of them": jpeg(jpeg_exif(1), jpeg_xmp(), APP13, (0xFE, b"x"), (0xFE, b"y")),
    "exif that contradicts xmp": jpeg(jpeg_exif(1), jpeg_xmp(6)),
    "by pillow": saved("JPEG", exif=b"Exif\0\0" + exif(), comment=b"hello"),
}
PNGS = {
    "text": png(chunk(b"tEXt", b"Title\0shoe"), last=[chunk(b"zTXt", b"a\0\0" + zlib.compress(b"b"))]),
    "time": png(chunk(b"tIME", bytes(7))),
    "exif": png(chunk(b"eXIf", exif())),
    "exif with its prefix, behind the pixels": png(last=[chunk(b"eXIf", b"Exif\0\0" + exif(1))]),
    "xmp": png(text_xmp(xmp())),
    "xmp, as stored": png(text_xmp(xmp(1))),
    "xmp in plain text": png(chunk(b"tEXt", b"XML:com.adobe.xmp\0" + xmp())),
}
WEBPS = {
    "exif": webp(exif=b"Exif\0\0" + exif()),
    "exif without its prefix": webp(exif=exif(1)),
    "xmp": webp(xmp=xmp()),
    "both": webp(exif=exif(1), xmp=xmp()),
}


@pytest.mark.parametrize(
    ("plain", "edited"),
    [
        *[pytest.param(jpeg(), data, id=f"jpeg {name}") for name, data in JPEGS.items()],
        *[pytest.param(png(), data, id=f"png {name}") for name, data in PNGS.items()],
        *[pytest.param(webp(), data, id=f"webp {name}") for name, data in WEBPS.items()],
    ],
)
def test_metadata_does_not_count(plain, edited):
    """The edited file has the hash of the plain one, which is the hash of its bytes."""
    assert plain != edited
    assert picture_hash(plain) == "p1" + blake3(plain).hexdigest()
    assert picture_hash(edited) == picture_hash(plain)


TURNED = [
    [jpeg(jpeg_exif(6)), jpeg(jpeg_exif(6, order=">", extra=3), (0xFE, b"x")), jpeg(jpeg_xmp(6)), jpeg(jpeg_exif(6), jpeg_xmp(3)),
     jpeg(jpeg_xmp(6, form="<tiff:Orientation>%d</tiff:Orientation>"), jpeg_exif())],
    [png(chunk(b"eXIf", exif(6))), png(last=[chunk(b"eXIf", exif(6, extra=2))]), png(text_xmp(xmp(6)))],
    [webp(exif=exif(6)), webp(exif=exif(6, order=">"), xmp=xmp()), webp(xmp=xmp(6))],
]  # fmt: skip


@pytest.mark.parametrize("same", TURNED, ids=["jpeg", "png", "webp"])
def test_the_orientation_counts_and_nothing_beside_it(same):
    """Wherever decoders read it from: two pictures that are turned alike are equal, others are not."""
    hashes = [picture_hash(data) for data in same]
    assert len(set(hashes)) == 1
    assert hashes[0][2:] != blake3(same[0]).hexdigest()


def test_each_orientation_is_a_picture_of_its_own():
    """Eight ways to turn a picture, eight hashes; 1 is that of the picture without any."""
    for make in (
        lambda n: jpeg(jpeg_exif(n)),
        lambda n: png(chunk(b"eXIf", exif(n))),
        lambda n: webp(exif=exif(n)),
    ):
        assert len({picture_hash(make(n)) for n in range(1, 9)}) == 8


PROFILE = (0xE2, b"ICC_PROFILE\0\1\1profile")
DIFFERENT = {
    "jpeg": [
        jpeg(), jpeg(seed=2), jpeg(PROFILE), jpeg(behind=b"\0"), jpeg(behind=b"\xff\xfe\0\4ab"),
        jpeg((0xE1, b"FLIR\0 heat")), jpeg((0xEE, b"Adobe\0\x64\0\0\0\0\2")),
        jpeg(jpeg_exif(9)), jpeg(jpeg_exif(0)), jpeg(jpeg_exif(6, kind=4)), jpeg(jpeg_exif(1, kind=4)), jpeg(jpeg_exif(1, count=2)),
        jpeg(jpeg_exif(1), jpeg_exif(1)), jpeg(jpeg_xmp(), jpeg_xmp()), jpeg(jpeg_xmp(1, form=" t:Orientation='%d'")),
        jpeg((0xE1, b"Exif\0\0" + exif(1)[:-6])), jpeg((0xE1, b"Exif\0\0")), jpeg((0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff")),
        jpeg((0xE1, b"Exif\0\0II*\0\x08\0\0\0")), jpeg((0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp().decode().encode("utf-16"))),
        jpeg((0xFE, b"x"), behind=b"\0\0"), jpeg().replace(b"\xff\xda", b"\xff\xfe\0\3x\0\xff\xda"),
        jpeg().replace(b"\xff\xda", b"\xff\xfe\0\3x\xff\xff\xda"), jpeg()[:100], jpeg(jpeg_exif(3))[:200], jpeg(jpeg_exif())[:200],
    ],
    "png": [
        png(), png(seed=2), png(chunk(b"iCCP", b"p\0\0" + zlib.compress(b"profile"))), png(chunk(b"gAMA", bytes(4))),
        png(behind=b"\0"), png(behind=chunk(b"tEXt", b"a\0b")), png(chunk(b"tEXt", b"Raw profile type exif\0\n")),
        png(text_xmp(zlib.compress(xmp()), b"\1")), png(chunk(b"zTXt", b"XML:com.adobe.xmp\0\0" + zlib.compress(xmp()))),
        png(chunk(b"eXIf", exif(6), crc=1)), png(chunk(b"eXIf", exif(), crc=1)), png(chunk(b"eXIf", exif()), chunk(b"eXIf", exif())),
        png(chunk(b"eXIf", exif() + bytes(2**20))), png(chunk(b"tEXt", b"a\0b"))[:-12], png(chunk(b"tEXt", b"a\0b"))[:-1],
    ],
    "webp": [
        webp(), webp(seed=2), saved("WEBP"), saved("WEBP", exif=exif()), saved("WEBP", icc_profile=b"other"), webp() + b"\0",
        with_flags(webp(), 8), with_flags(webp(), 4), with_flags(webp(exif=exif(), xmp=xmp()), 2), webp(exif=exif(9)),
        webp(xmp=xmp(1, form=" t:Orientation='%d'")), webp(xmp=xmp())[:-1], webp(exif=exif()).replace(b"EXIF", b"EXIX"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", DIFFERENT)
def test_all_else_counts(kind):
    """Pixels, profiles, bytes behind the end, and what is not understood: each has a hash of its own."""
    files = DIFFERENT[kind]
    assert len({picture_hash(data) for data in files}) == len(set(files)) == len(files)


def test_metadata_that_is_not_understood_leaves_the_rest_of_the_rule_alone():
    """A comment beside an odd block of Exif still does not count."""
    odd = jpeg_exif(9)
    assert picture_hash(jpeg(odd)) == picture_hash(jpeg(odd, (0xFE, b"x"), jpeg_xmp()))
    assert picture_hash(webp(exif=exif(9))) == picture_hash(webp(exif=exif(9), xmp=xmp()))


def test_a_large_file_is_read_in_blocks_and_a_png_of_very_many_chunks_is_hashed_whole():
    """More than one block of the real size, with metadata on both sides of it."""
    noise = Image.frombytes("L", (1000, 700), bytes(n * n % 251 for n in range(700_000)))
    file = io.BytesIO()
    noise.save(file, "PNG", compress_level=0)
    plain = file.getvalue()
    edited = (
        plain[:33] + chunk(b"tEXt", b"a\0" + bytes(300_000)) + plain[33:-12] + chunk(b"tIME", bytes(7)) + plain[-12:]
    )
    assert hash_photo(io.BytesIO(edited)) == hash_photo(edited)
    assert hash_photo(edited)[0] == hash_photo(plain)[0]
    many = plain[:33] + chunk(b"tEXt", b"a\0") * 20_000 + plain[33:]
    assert hash_photo(many)[0] == "p1" + blake3(many).hexdigest()


SAMPLES = st.sampled_from([*JPEGS.values(), *PNGS.values(), *WEBPS.values(), *(one for row in TURNED for one in row)])
SIGNATURES = st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x60\0\0\0WEBPVP8X\x0a\0\0\0\x0c"])


@given(SIGNATURES, st.binary(max_size=300))
def test_any_bytes_have_a_hash(signature, data):
    """Random bytes behind each signature: no error, the same from memory and from a file."""
    picture_hash(signature + data)


@given(SAMPLES, st.data())
def test_changed_files_have_a_hash(data, draw):
    """Pictures with metadata in which any bytes are changed, cut out or repeated."""
    changed = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 4))):
        at = draw.draw(st.integers(0, min(len(changed), 500) - 1))
        changed[at : at + draw.draw(st.integers(0, 3))] = draw.draw(st.binary(max_size=3))
    picture_hash(bytes(changed))


@given(
    st.binary(min_size=12, max_size=12), st.binary(min_size=12, max_size=12), st.sampled_from(["PNG", "WEBP", "BMP"])
)
def test_other_pixels_are_another_picture(first, second, kind):
    """In each lossless format, whatever metadata they share."""

    def picture(pixels):
        file = io.BytesIO()
        settings = {"exif": exif(1), **({"lossless": True} if kind == "WEBP" else {})} if kind != "BMP" else {}
        Image.frombytes("RGB", (2, 2), pixels).save(file, kind, **settings)
        return picture_hash(file.getvalue())

    assert (picture(first) == picture(second)) is (first == second)


def shown(data):
    """What Pillow shows, turned as it is told to; None where it can't."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            profile = image.info.get("icc_profile")
            turned = ImageOps.exif_transpose(image)
            return turned.mode, turned.size, turned.tobytes(), profile
    except Exception:  # noqa: BLE001 - Pillow raises whatever the bytes provoke
        return None


@given(SAMPLES, st.data())
def test_what_has_one_hash_looks_the_same(data, draw):
    """Whatever is changed in the metadata: if the hash stays, so do pixels, orientation and profile."""
    changed = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 3))):
        at = draw.draw(st.integers(0, min(len(changed), 300) - 1))
        changed[at : at + draw.draw(st.integers(0, 2))] = draw.draw(
            st.sampled_from([b"", b"\0", b"\1", b"\6", b"\xff"])
        )
    before, after = shown(data), shown(bytes(changed))
    if hash_photo(bytes(changed))[0] == hash_photo(data)[0] and after is not None:
        assert after == before
