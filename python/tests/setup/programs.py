"""Runs small programs that use the library, under a limit that ends what hangs."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

LIMIT_SECONDS = 60
"""A hard limit. Each exit has a bound of its own, far below."""


def run(
    code: str, *arguments: str, python: list[str] | None = None, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a program, and returns what it said. Fails when it does not end."""
    return subprocess.run(
        [*(python or [sys.executable]), "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
        env={**os.environ, **(environment or {})},
    )


def script(folder: Path, name: str, code: str) -> Path:
    """Writes a program to a file."""
    path = folder / name
    path.write_text(textwrap.dedent(code))
    return path
