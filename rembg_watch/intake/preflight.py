"""What the API would refuse, found out here, where it costs nothing. Pure.

Source: the API's error table (type by signature, 0 bytes, 50 MB, 10000 px).
"""

from __future__ import annotations

from rembg_watch.imagefile import MAX_BYTES, MAX_SIDE, Header
from rembg_watch.jobs.model import Refusal

_EXPORT = "Export it as JPEG, PNG, WebP or BMP."
_ISO_BRANDS = {
    b"avif": "an AVIF picture",
    b"avis": "an AVIF picture",
    b"heic": "a HEIC picture",
    b"heix": "a HEIC picture",
    b"hevc": "a HEIC picture",
    b"hevx": "a HEIC picture",
    b"heim": "a HEIC picture",
    b"mif1": "a HEIF picture",
    b"msf1": "a HEIF picture",
    b"crx ": "a Canon CR3 raw picture",
    b"qt  ": "a QuickTime film",
}
_SIGNATURES = (
    (b"GIF8", "a GIF picture"),
    (b"II*\0\x10\0\0\0CR", "a Canon CR2 raw picture"),
    (b"II*\0", "a TIFF or raw picture"),
    (b"MM\0*", "a TIFF or raw picture"),
    (b"8BPS", "a Photoshop file"),
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (b"\0\0\x01\0", "an icon file"),
    (b"gimp xcf", "a GIMP file"),
    (b"FUJIFILM", "a Fujifilm raw picture"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM film"),
    (b"MZ", "a Windows program"),
    (b"\x7fELF", "a program"),
)


def what_it_is(head: bytes) -> str:
    """Name what the first bytes (32 are enough) announce, for people: ``a GIF picture``, ``a text file``..."""
    if head[4:8] == b"ftyp":
        return _ISO_BRANDS.get(head[8:12], "a film or another ISO media file")
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<svg", b"<?xml")):
        return "an SVG or XML file"
    if start.startswith((b"<!doctype", b"<html")):
        return "a web page"
    if head and all(byte >= 0x20 or byte in b"\t\n\r\f" for byte in head):
        return "a text file"
    return "no picture of a known kind"


def refuse_empty() -> Refusal:
    return Refusal("empty", "the file is empty (0 bytes)", "Export or copy it again.")


def refuse_type(head: bytes) -> Refusal:
    """Refuse what carries no signature of a format that the API takes, whatever its name says."""
    return Refusal("type", f"it is {what_it_is(head)}, which the API does not take", _EXPORT)


def refuse_damaged(damage: str) -> Refusal:
    return Refusal("damaged", damage, "Export or copy it again.")


def refuse_size(size: int) -> Refusal | None:
    """Refuse a file of more than 50 MB; ``size`` in bytes."""
    if size <= MAX_BYTES:
        return None
    return Refusal(
        "size",
        f"the file has {size / 1024 / 1024:.1f} MB ({size} bytes)",
        f"The API takes at most 50 MB ({MAX_BYTES} bytes). Export it smaller.",
    )


def refuse_dimensions(header: Header) -> Refusal | None:
    """Refuse a picture of more than 10000 px a side."""
    if max(header.width, header.height) <= MAX_SIDE:
        return None
    return Refusal(
        "dimensions",
        f"the picture is {header.width} x {header.height} px",
        f"The API takes at most {MAX_SIDE} px a side. Export it smaller.",
    )
