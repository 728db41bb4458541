"""The package itself: versions, codes, types, what it needs, and that it builds."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import get_args

import pytest

import signal_ingest
from signal_ingest.base.codes import KnownFailureCode, KnownProblemCode
from signal_ingest.base.types import NewSignal

ROOT = Path(__file__).parents[1]
REPOSITORY = ROOT.parent


def test_the_versions_of_both_libraries_move_together() -> None:
    package = json.loads((REPOSITORY / "package.json").read_text())
    project = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert project is not None
    assert project[1] == package["version"] == signal_ingest.__version__


def rows(heading: str, column: int) -> list[str]:
    """The codes in a column of the first table below a heading of docs/api.md."""
    text = (REPOSITORY / "docs/api.md").read_text().split(f"\n{heading}\n")[1]
    table = text[text.index("\n|") + 1 :].split("\n\n")[0]
    lines = [line.split("|") for line in table.splitlines() if line.startswith("| ")]
    return [cells[column].strip().strip("`") for cells in lines[1:]]


def test_the_codes_are_those_of_the_docs() -> None:
    assert sorted(get_args(KnownFailureCode)) == sorted(rows("### Codes of failed signals", 1))
    assert sorted(get_args(KnownProblemCode)) == sorted(rows("## Errors", 2))


def test_the_fields_are_those_of_a_signal() -> None:
    fields = {name for cell in rows("## A signal", 1) for name in re.findall(r"\w+", cell)}
    assert set(NewSignal.__annotations__) == fields


def test_it_needs_nothing_but_python() -> None:
    assert "\ndependencies = []\n" in (ROOT / "pyproject.toml").read_text()
    imported = subprocess.run(
        [
            sys.executable,
            "-S",
            "-c",
            f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r}); import signal_ingest",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert imported.returncode == 0, imported.stderr


def test_every_name_is_exported() -> None:
    for name in signal_ingest.__all__:
        assert getattr(signal_ingest, name).__doc__ or name in ("Signal", "conversation")


def test_the_wheel_has_the_types_and_the_licence(tmp_path: Path) -> None:
    pytest.importorskip("build")
    pytest.importorskip("hatchling")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    (wheel,) = tmp_path.glob("*.whl")
    (sdist,) = tmp_path.glob("*.tar.gz")
    names = zipfile.ZipFile(wheel).namelist()
    assert "signal_ingest/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any("test" in name for name in names)
    pytest.importorskip("twine")
    command = [sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(sdist)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
