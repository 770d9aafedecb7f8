"""Whether the answer is the picture that was asked for, and the error for what it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rembg_watch.api.options import SHRUNK_SIDE, Fit, Options
from rembg_watch.api.verdict import About, Charge, Verdict, error_for, hint_for
from rembg_watch.errors import NotAPicture, PictureError
from rembg_watch.imagefile import MAX_SIDE, Header, check_container, decode

if TYPE_CHECKING:
    from rembg_watch.imagefile import Source


def picture_verdict(
    header: Header | None, error: PictureError | None, options: Options, source_size: tuple[int, int] | None
) -> Verdict | None:
    """Judge a 200's bytes by what decoding them gave; None means: this is the picture that was asked for.

    ``source_size`` is the photo's width and height in pixels; None leaves the size unchecked. A picture that is not
    right is *possibly* charged: the documentation does not say that only right ones are.
    """
    if header is None or error is not None:
        broken = error is not None and not isinstance(error, NotAPicture)
        text = error.message if error is not None else "the answer is no picture"
        code = "cut-short" if broken else "not-a-picture"
        return _wrong(About.SERVICE, code, f"the answer can't be used: {text}")
    size = f"{header.width} x {header.height} px"
    if source_size is not None:
        fit = options.fit(source_size, (header.width, header.height))
        if fit is Fit.SHRUNK:
            return _wrong(
                About.CREDITS, "shrunk", f"the answer was shrunk to {size} (at most {SHRUNK_SIDE}): out of credits"
            )
        if fit is Fit.WRONG:
            asked = " x ".join(str(side) for side in source_size)
            return _wrong(
                About.UNKNOWN, "wrong-size", f"the answer has {size}, which the options do not make of {asked} px"
            )
    if header.kind is not options.format:
        return _wrong(About.UNKNOWN, "wrong-format", f"the answer is {header.kind}, not {options.format}")
    return None


def _wrong(about: About, code: str, message: str) -> Verdict:
    return Verdict(about, code, message, hint_for(code), Charge.POSSIBLY, 200)


def checked(answer: Source, options: Options, source_size: tuple[int, int]) -> Header:
    """Decode an answer in a file or in memory to its last pixel; return its header if the options ask for it.

    Raises:
        ApiError: the answer is another one; the error carries the verdict.

    """
    header, problem = None, None
    try:
        header = check_container(answer)
        is_long = max(header.width, header.height) > MAX_SIDE
        decode(answer, header, options.longest(source_size) if is_long else MAX_SIDE)
    except PictureError as error:
        problem = error
    verdict = picture_verdict(header, problem, options, source_size)
    if verdict is not None or header is None:
        raise error_for(verdict or _wrong(About.SERVICE, "not-a-picture", "the answer is no picture"))
    return header
