"""What the README promises is there, and every rule that is switched off says why."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import click
import pytest

from learnrate import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SHELL_LINES = [
    line.split("  #")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
] + re.findall(r"^\| `(learnrate .*?)`", README, re.MULTILINE)
FOLDERS = ("src", "tests", "examples", "benchmarks")
SOURCES = sorted(path for folder in FOLDERS for path in ROOT.glob(f"{folder}/**/*.py"))


def test_the_readme_names_the_two_commands_of_a_newcomer():
    assert {"make demo", "make test"} <= set(SHELL_LINES)


@pytest.mark.parametrize("line", [line for line in SHELL_LINES if line.startswith("make ")])
def test_every_make_command_of_the_readme_is_a_target(line):
    target = shlex.split(line)[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("line", [line for line in SHELL_LINES if line.startswith("learnrate ")])
def test_every_learnrate_command_of_the_readme_is_one(line):
    words = shlex.split(line.split(" -- ")[0])[1:]  # what follows is a command of the reader's own
    command = cli.main.commands[words[0]]
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words[1:] if word.startswith("--")} <= options
    assert {one.opts[0] for one in command.params if isinstance(one, click.Option) and one.required} <= set(words)


@pytest.mark.parametrize("path", [word for line in SHELL_LINES for word in re.findall(r"\S+\.py(?=:)", line)])
def test_every_file_that_a_command_of_the_readme_names_is_there(path):
    assert path == "FILE.py" or (ROOT / path).is_file()


def test_ci_runs_the_command_that_the_readme_gives():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "make test" in script.read_text().splitlines()


def test_every_ignored_rule_in_the_settings_has_its_reason():
    ignores = re.search(r"^ignore = \[\n(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL | re.MULTILINE)
    per_file = re.search(r"per-file-ignores\]\n(.*?)\n\n", (ROOT / "pyproject.toml").read_text(), re.DOTALL)
    assert ignores
    assert per_file
    lines = ignores[1].splitlines() + [line for line in per_file[1].splitlines() if re.search(r'"[A-Z]+\d*"', line)]
    assert not [line for line in lines if not re.search(r"#.*\w", line)]


def test_every_ignored_rule_in_the_code_names_the_rule_and_its_reason():
    bare = re.compile(r"#\s*(ruff:\s*)?(noqa|type:\s*ignore|pyright:)")
    rule = r"(ruff: )?noqa: [A-Z]+\d+(, ?[A-Z]+\d+)*|pyright: ignore\[\w+(, ?\w+)*\]"
    on_the_line = re.compile(rf"#\s*({rule})\s+#\s*\w")
    above = re.compile(r"# \w.*\n# (pyright: report|ruff: noqa: [A-Z])")  # a whole file's, too long for one line
    offending = []
    for path in SOURCES:
        lines = ["", *path.read_text().splitlines()]
        for number, line in enumerate(lines[1:], start=1):
            explained = on_the_line.search(line) or above.match(f"{lines[number - 1]}\n{line}")
            if bare.search(line) and not explained and path != Path(__file__):
                offending.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert not offending
