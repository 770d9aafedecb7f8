"""What the API says no with: every row of its error table, word for word.

Source of statuses and texts: the public API documentation of RemBG.com. Where it has none (402, proxies' answers), the
text is the sandbox's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_MB = 50
MAX_BYTES = MAX_MB * 1024 * 1024
MAX_SIDE = 10_000


@dataclass(frozen=True, slots=True)
class Refusal:
    """One row of the table. ``field`` is the form field at fault, where there is one."""

    status: int
    message: str
    field: str = ""

    def body(self) -> dict[str, object]:
        return {"error": self.message, "status": self.status}


NO_IMAGE = Refusal(400, "No image file provided. Please include an 'image' field in your form data.", "image")
NO_NAME = Refusal(400, "No file selected. Please choose an image file to upload.", "image")
CORRUPT = Refusal(400, "File does not appear to be a valid image (invalid file signature)", "image")
EMPTY = Refusal(400, "Uploaded file is empty (0 bytes).", "image")
CONFLICT = Refusal(400, "Cannot use 'mask=true' together with 'bg_color'. Choose one or the other.", "mask")
UNVERIFIED = Refusal(403, "Email address not verified – please check your inbox")
BAD_KEY = Refusal(401, "invalid api key")
KEY_AND_TOKEN = Refusal(400, "This is a mistake: Cannot use both API key and user token")
TOO_FAST = Refusal(429, "You're making requests too quickly, Please Upgrade or slow down.")
DAILY = Refusal(429, "You've reached your daily limit. Please sign up for more access.")
MONTHLY = Refusal(429, "You've reached your monthly limit. Consider purchasing more credits.")
PAYMENT = Refusal(402, "Payment required: no credits are left.")


def wrong_type(extension: str) -> Refusal:
    message = f"File type '{extension}' is not supported. Allowed formats: webp, bmp, png, jpg, jpeg"
    return Refusal(400, message, "image")


def too_big(size: int) -> Refusal:
    message = f"File size ({size / 1024 / 1024:.1f} MB) exceeds the maximum allowed size of {MAX_MB} MB."
    return Refusal(400, message, "image")


def too_wide(width: int) -> Refusal:
    return Refusal(400, f"Image width ({width}px) exceeds the maximum allowed width of {MAX_SIDE}px.", "image")


def too_tall(height: int) -> Refusal:
    return Refusal(400, f"Image height ({height}px) exceeds the maximum allowed height of {MAX_SIDE}px.", "image")


def not_an_integer(field: str, value: str) -> Refusal:
    return Refusal(400, f"'{field}' must be an integer, got: '{value}'", field)


def at_least(field: str, value: int) -> Refusal:
    return Refusal(400, f"'{field}' must be at least 1, got: {value}", field)


def at_most(field: str, value: int) -> Refusal:
    return Refusal(400, f"'{field}' must be at most {MAX_SIDE}, got: {value}", field)


def not_a_number(value: str) -> Refusal:
    return Refusal(400, f"'angle' must be a number, got: '{value}'", "angle")


def angle_range(value: float) -> Refusal:
    return Refusal(400, f"'angle' must be between -360 and 360 degrees, got: {value}", "angle")


def bad_format(value: str) -> Refusal:
    return Refusal(400, f"Invalid format '{value}'. Allowed formats: PNG, JPEG, WEBP, BMP", "format")


def bad_color(value: str) -> Refusal:
    message = f"Invalid color format '{value}'. Use hex format: #RGB, #RGBA, #RRGGBB, or #RRGGBBAA"
    return Refusal(400, message, "bg_color")


def not_a_flag(field: str, value: str) -> Refusal:
    """The documentation has no row for this; the sandbox says so rather than guess."""
    return Refusal(400, f"'{field}' must be true or false, got: '{value}'", field)


def together(refusals: Sequence[Refusal], errors_as: str = "details") -> dict[str, object]:
    """Give the body for one or several validation errors; ``errors_as`` is the name of the array of several."""
    if len(refusals) == 1:
        return refusals[0].body()
    listed = [{"field": refusal.field, "message": refusal.message} for refusal in refusals]
    return {"error": "Multiple validation errors", "status": 400, errors_as: listed}
