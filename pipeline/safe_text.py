"""Text made harmless: control characters for a terminal, markup for MLflow's pages, secrets for everybody."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

_KEPT = "\n\t"
_ACTIVE = ("Cc", "Cf", "Zl", "Zp")  # Unicode's control, format (such as writing from right to left) and line characters
_MARKDOWN = re.compile(r"[\\`\[\]|]")
_USER = re.compile(r"(?<=://)(?:[^\s/@:]*:\S*|[^\s/]*)@")  # SQLAlchemy lets a password hold '/' and '@'
_PASSWORD = re.compile(r"(?<![\w+.-])[\w+.-]+://[^\s/@:]*:\S*@")
_WORDS = r"pass(?:word|wd|phrase|_?key)|pwd|secret|token|signature|(?:api|access|account|private|shared)[_-]?key"
# In a URI's query, or between the words of a database's address; `sig` is what Azure calls a signature.
_SECRET_KEY = re.compile(rf"(?i)((?:(?:^|[?&;\s])(?=[\w.-]*=)[\w.-]*(?:{_WORDS})[\w-]*|[?&]sig)=)[^&;\s'\"]+")


def visible(text: str) -> str:
    r"""Return text whose control characters are shown as escapes, such as `\x1b`, so that no terminal obeys them.

    Args:
        text: of a name, a parameter, a message or a traceback; its line breaks and tabs stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(char) if unicodedata.category(char) in _ACTIVE else char for char in text)


def _escaped(char: str) -> str:
    return char if char in _KEPT else char.encode("unicode_escape").decode()


def in_markdown(text: str) -> str:
    """Return text that a Markdown page shows as it is: no link, picture, frame, table cell or other HTML of it.

    MLflow's page lets scripts through in no case, but pictures and frames of other sites.
    """
    plain = visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\g<0>", plain)


def redact(value: Any) -> Any:
    """Return JSON data in which no URI holds a user's name, a password or a token."""
    if isinstance(value, str):
        return _SECRET_KEY.sub(r"\1***", _USER.sub("***@", value) if "@" in value else value)
    if isinstance(value, Mapping):
        return {key: redact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    return value


def holds_secret(text: str) -> bool:
    """Whether a URI in a text holds a password, or a token; a user's name alone is one for a web server only."""
    return _SECRET_KEY.search(text) is not None or any(map(_holds_password, text.split()))


def _holds_password(uri: str) -> bool:
    if uri.startswith(("http://", "https://")):
        return "@" in uri.partition("://")[2].partition("/")[0]
    return "@" in uri and _PASSWORD.search(uri) is not None


def key_of_secret(value: Any, key: str = "") -> str | None:
    """Return the dotted key of the first text in JSON data that holds a password or a token."""
    if isinstance(value, str):
        return key if holds_secret(value) else None
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    found = (key_of_secret(item, f"{key}.{name}" if key else str(name)) for name, item in pairs)
    return next((name for name in found if name is not None), None)
