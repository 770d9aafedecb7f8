"""What the words of an error are about: the documented texts, and guesses at others."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rembg_watch.api.model import About

if TYPE_CHECKING:
    from rembg_watch.api.error_body import ErrorBody, FieldError

_OPTIONS = frozenset({"format", "w", "h", "exact_resize", "mask", "bg_color", "angle", "expand", "return_base64"})
_IMAGE_FIELDS = frozenset({"image", "file", "input", "inputimage", "image_file"})
_ACCOUNT_FIELDS = frozenset({"x-api-key", "api_key", "apikey", "key", "token", "authorization", "user"})

# The documented texts first, in words that survive small changes of theirs; below them, guesses by single words.
_TEXTS: tuple[tuple[re.Pattern[str], About, str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), about, code)
    for pattern, about, code in (
        (r"both api key and user token", About.ACCOUNT, "key-and-token"),
        (r"e-?mail.*(?:not |un)verified|verify your e-?mail", About.ACCOUNT, "email"),
        (
            r"(?:invalid|unknown|missing|wrong|expired|revoked|bad|no) (?:api[ _-]?key|credentials)",
            About.ACCOUNT,
            "key",
        ),
        (
            r"api[ _-]?key (?:is |was |has )?(?:been )?(?:not |in|un|expired|missing|required|revoked)",
            About.ACCOUNT,
            "key",
        ),
        (r"no image file|include an 'image'", About.IMAGE, "no-image"),
        (r"no file selected", About.IMAGE, "no-name"),
        (r"file type .*not supported|unsupported (?:file|image|media)", About.IMAGE, "type"),
        (
            r"not appear to be a valid image|invalid file signature|corrupt|cannot identify image",
            About.IMAGE,
            "corrupt",
        ),
        (r"file is empty|0 bytes", About.IMAGE, "empty"),
        (r"file size|file (?:is )?too (?:large|big)|entity too large", About.IMAGE, "too-big"),
        (r"image width", About.IMAGE, "too-wide"),
        (r"image height", About.IMAGE, "too-tall"),
        (r"cannot use '?\w+(?:=\w+)?'? together", About.PROFILE, "conflict"),
        (r"invalid (?:output )?format|invalid colou?r", About.PROFILE, "options"),
        (r"'(?:format|w|h|exact_resize|mask|bg_color|angle|expand|return_base64)(?:=\w+)?'", About.PROFILE, "options"),
        (r"(?:daily|per[ -]day|day's) (?:limit|quota)|limit (?:for )?(?:today|per day)", About.CREDITS, "daily"),
        (
            r"(?:monthly|per[ -]month|month's) (?:limit|quota)|limit (?:for )?(?:this|per) month",
            About.CREDITS,
            "monthly",
        ),
        (r"credits?\b|quota|insufficient (?:funds|balance)|payment|subscription", About.CREDITS, "credits"),
        (r"too (?:quickly|many requests|fast)|rate[ -]?limit|slow down", About.PACE, "too-fast"),
        (
            r"suspended|banned|disabled|blocked|forbidden|not allowed|unauthori[sz]ed|permission",
            About.ACCOUNT,
            "forbidden",
        ),
        (r"\b(?:bg_color|exact_resize|return_base64|angle|mask|expand|colou?r)\b", About.PROFILE, "options"),
        (r"\b(?:image|picture|photo|file|upload)\b", About.IMAGE, "image"),
    )
)


def by_words(said: ErrorBody) -> tuple[About, str] | None:
    """Judge by the fields it names, then by its words.

    Where both the picture and an option are wrong, the option decides: it concerns every photo of the profile, and once
    it is corrected, the picture's own fault comes back by itself, at no cost.
    """
    found = [judged for f in said.fields if (judged := _by_field(f))]
    for about in (About.ACCOUNT, About.CREDITS, About.PACE, About.PROFILE, About.IMAGE):
        for judged in found:
            if judged[0] is about:
                return judged
    return _by_text(said.text)


def _by_field(error: FieldError) -> tuple[About, str] | None:
    name = error.field.lower()
    by_text = _by_text(error.message)
    if name in _OPTIONS:
        return About.PROFILE, "conflict" if by_text == (About.PROFILE, "conflict") else "options"
    if name in _IMAGE_FIELDS:
        return by_text if by_text and by_text[0] is About.IMAGE else (About.IMAGE, "image")
    if name in _ACCOUNT_FIELDS:
        return by_text if by_text and by_text[0] is About.ACCOUNT else (About.ACCOUNT, "key")
    return by_text


def _by_text(text: str) -> tuple[About, str] | None:
    return next(((about, code) for pattern, about, code in _TEXTS if pattern.search(text)), None)
