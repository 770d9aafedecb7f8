"""What a person can do about each code of a verdict."""

from __future__ import annotations

HINTS = {
    "key": "Check api.key: it was copied whole, and it still exists in your RemBG.com account.",
    "email": "Open the mail that RemBG.com sent and confirm the address.",
    "key-and-token": "Send the API key only; something on the way adds a user token.",
    "forbidden": "Look into your RemBG.com account; the key is not allowed to do this.",
    "credits": "Buy credits or wait for the plan's renewal; sending goes on by itself.",
    "daily": "Wait for the next day or upgrade the plan; sending goes on by itself.",
    "monthly": "Buy credits or wait for the plan's renewal; sending goes on by itself.",
    "shrunk": "Buy credits or wait for the plan's renewal; shrunk pictures are what accounts without credits get.",
    "too-fast": "Nothing to do: the pace is lowered. Fewer workers, or api.max_per_second, keep below the limit.",
    "no-image": "Report this: the request carried no picture.",
    "no-name": "Report this: the request carried no file name.",
    "type": "Only webp, bmp, png and jpeg can be sent.",
    "corrupt": "Export or copy the photo again; the API can't read it.",
    "empty": "Copy the photo again; it has no content.",
    "too-big": "Save the photo smaller; the limit is 50 MB.",
    "too-wide": "Scale the photo down; the limit is 10000 px a side.",
    "too-tall": "Scale the photo down; the limit is 10000 px a side.",
    "image": "Look at the photo; the API does not take it as it is.",
    "options": "Correct these options in the profile.",
    "conflict": "Choose one of the two options.",
    "server-error": "Nothing to do: it is tried again later.",
    "unavailable": "Nothing to do: it is tried again later.",
    "proxy-page": "Something between here and the API answered with a web page: check api.url, proxy and firewall.",
    "proxy": "Check the proxy settings (HTTPS_PROXY, NO_PROXY).",
    "redirect": "Correct api.url; redirects are not followed, so the key was sent to no other host.",
    "wrong-url": "Check api.url; there is no such service at this address.",
    "timeout": "Nothing to do: it is tried again. If it stays, check the network, or raise both timeouts of api.",
    "reset": "Nothing to do: it is tried again. If it stays, check the network, proxy and firewall.",
    "dns": "Check the name in api.url, and this machine's DNS.",
    "tls": "Check this machine's clock, and the CA bundle (REQUESTS_CA_BUNDLE) where a proxy opens TLS.",
    "refused": "Check api.url and the firewall; nothing accepts connections there.",
    "unreachable": "Check this machine's network.",
    "url": "Correct api.url.",
    "not-a-picture": "It is tried again later; if it stays, ask RemBG.com's support.",
    "cut-short": "Nothing to do: it is tried again later.",
    "encoding": "Something on the way compresses answers; it must leave pictures as they are.",
    "too-much": "It is not read further; if it stays, ask RemBG.com's support.",
    "nonsense": "It is asked again later; if it stays, ask RemBG.com's support.",
    "unknown": "Read the message; if it does not help, ask RemBG.com's support.",
    "wrong-format": "It is not delivered. Ask RemBG.com's support, or try another format in the profile.",
    "wrong-size": "It is not delivered. Ask RemBG.com's support, or try another size in the profile.",
    "picture": "",
}
CODES = frozenset(HINTS)
"""Every word that a verdict's ``code`` can be."""


def hint_for(code: str) -> str:
    """What to do about a verdict with this ``code``."""
    return HINTS.get(code, HINTS["unknown"])
