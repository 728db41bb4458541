"""The package itself: versions, codes, types, what it needs, and that it builds."""

from __future__ import annotations

import json
import os
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

from .setup.service import Service

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


NOT_CLASSES = ("Scope", "Signal", "SubscriptionFormat", "conversation")


def test_every_name_is_exported() -> None:
    for name in signal_ingest.__all__:
        assert getattr(signal_ingest, name).__doc__ or name in (
            "Scope",
            "Signal",
            "SubscriptionFormat",
            "conversation",
        )


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    return folder


def test_the_wheel_has_the_types_and_the_licence(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    (sdist,) = built.glob("*.tar.gz")
    names = zipfile.ZipFile(wheel).namelist()
    assert "signal_ingest/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any("test" in name for name in names)
    pytest.importorskip("twine")
    command = [sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(sdist)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("page", ["python/README.md", "docs/python.md"])
def test_the_first_lines_of_a_page_send(built: Path, service: Service, tmp_path: Path, page: str) -> None:
    """The wheel in an environment of its own, then the first program of the page as it is printed."""
    text = (REPOSITORY / page).read_text()
    install, code = re.findall(r"```\w+\n(.*?)```", text, re.DOTALL)[:2]
    assert install == "pip install ./python\n"
    assert len([line for line in code.splitlines() if line]) <= 6
    python = tmp_path / "venv/bin/python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    (wheel,) = built.glob("*.whl")
    # A wheel of plain modules is installed by unpacking it. pip does the same, in ten times as long.
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    zipfile.ZipFile(wheel).extractall(packages)
    room = f"first-{tmp_path.name}"
    code = code.replace("http://localhost:8002", service.url).replace("conv-123", room)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    sent = subprocess.run([python, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (sent.returncode, sent.stderr) == (0, "")
    with signal_ingest.SignalClient(service.url) as client:
        (stored,) = client.list(context_window_id=room)
    assert (stored["raw_content"], stored["signal_score"]) == ("Ready to sync", 0.85)
