"""Writes a command's document to stdout: JSON for programs, a table or YAML for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, Literal, TextIO

Format = Literal["table", "json"]


def emit(
    format_: Format, document: dict[str, Any], table: Callable[[TextIO], None] | None = None, out: TextIO | None = None
) -> None:
    """Write a document.

    Args:
        format_: what the user asked for.
        document: without its `schema`.
        table: writes it for a person; None is YAML.
        out: the real stdout, where `sys.stdout` is kept for talk.
    """
    out = out or sys.stdout
    if format_ == "json":
        json.dump({"schema": 1} | document, out, indent=2, allow_nan=False)
        out.write("\n")
    elif table is not None:
        table(out)
    else:
        from pipeline import view

        view.print_yaml(document, out)
