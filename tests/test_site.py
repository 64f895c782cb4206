"""The documentation's site: it builds without a warning, and says something of every public name."""

import importlib.util
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import learnrate

ROOT = Path(__file__).parent.parent
NAMES = [name for name in learnrate.__all__ if name != "__version__"]


def test_the_site_builds_without_a_warning_or_a_dead_link(tmp_path):
    if importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("mkdocstrings") is None:
        pytest.skip("mkdocs builds the site; it is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    api = (tmp_path / "site" / "api" / "index.html").read_text()
    assert [name for name in NAMES if f'id="learnrate.{name}"' not in api] == []
    assert not re.search(r'<(script|link|img)[^>]*(src|href)="https?://', api)


def test_every_public_name_stands_in_the_api_page():
    told = re.findall(r"^::: learnrate\.(\w+)$", (ROOT / "docs" / "api.md").read_text(), flags=re.MULTILINE)
    assert sorted(told) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_and_its_members_are_documented(name):
    thing = getattr(learnrate, name)
    assert inspect.getdoc(thing)
    if inspect.isclass(thing):
        members = [member for key, member in vars(thing).items() if not key.startswith("_")]
        own = [it for it in members if inspect.isfunction(it) or isinstance(it, property | classmethod)]
        assert [it for it in own if not inspect.getdoc(it)] == []
    elif inspect.ismodule(thing):
        for key, member in vars(thing).items():
            home = getattr(member, "__module__", None)
            if not key.startswith("_") and home == thing.__name__ and callable(member):
                assert inspect.getdoc(member), key
