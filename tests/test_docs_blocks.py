"""Every block of code in the documentation runs, page by page, each page in a process and a folder of its own.

Python blocks run one after another in one namespace; of the shell blocks the lines that begin with `learnrate` run, in
the same folder. A comment right before a block, or anywhere for the environment, says what is otherwise:

    <!-- not run: why -->                  the block is left out
    <!-- runs after:                       Python that runs first, where the page leaves out what every reader has
    model = ...
    -->
    <!-- file: train.py -->                the block is written to that file instead
    <!-- environment: KERAS_BACKEND=jax -->
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
BLOCK = re.compile(r"(?:^ *<!-- (?P<mark>(?:(?!-->).)*?)\s?-->\n+)?^(?P<indent> *)```(?P<language>\w*)[^\n]*\n"
                   r"(?P<code>.*?)^ *```", re.DOTALL | re.MULTILINE)  # fmt: skip  # one part a line
RUNNER = """
import json, pathlib, subprocess, sys
namespace = {"__name__": "__main__"}
for kind, place, text in json.loads(pathlib.Path(sys.argv[1]).read_text()):
    if kind == "python":
        exec(compile(text, place, "exec"), namespace)
    elif kind == "shell":
        subprocess.run(["bash", "-c", text], check=True)
    else:
        pathlib.Path(place).write_text(text)
"""


def steps_of(text, name):
    """What a page asks to be run: (kind, file or place, text), in order."""
    steps = []
    for block in BLOCK.finditer(text):
        kind, _, rest = (block["mark"] or "").partition(":")
        if kind == "not run":
            assert rest.strip(), f"{name}: a block that is not run has no reason"
            continue
        code = textwrap.dedent(block["code"])
        line = text.count("\n", 0, block.start("code"))
        if kind == "runs after":
            steps.append(("python", f"{name}, what a block runs after", rest))
        if kind == "file":
            steps.append(("file", rest.strip(), code))
        elif block["language"] == "python":
            steps.append(("python", name, "\n" * line + code))  # so that errors tell the page's own lines
        elif block["language"] in ("sh", "bash", "shell", "console"):
            whole = code.replace("\\\n", " ").splitlines()
            steps += [("shell", name, one) for one in whole if one.startswith("learnrate ")]
    return steps


def environment_of(text):
    return dict(pair.split("=", 1) for pair in re.findall(r"<!-- environment: (\S+) -->", text))


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_block_of_the_page_runs(page, tmp_path):
    text = page.read_text()
    steps = steps_of(text, page.name)
    if not steps:
        pytest.skip("the page has no block that can run offline")
    (tmp_path / "steps.json").write_text(json.dumps(steps))
    (tmp_path / "here").mkdir()
    commands = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {"OMP_NUM_THREADS": "1", "PATH": commands, "TF_CPP_MIN_LOG_LEVEL": "3"} | environment_of(text)
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, str(tmp_path / "steps.json")],
        cwd=tmp_path / "here",
        env=os.environ | own,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{page.relative_to(ROOT)}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def test_marks_files_and_commands_are_understood():
    page = textwrap.dedent("""\
        <!-- environment: KERAS_BACKEND=jax -->

        ```python
        one = 1
        ```

        <!-- not run: it takes an hour -->
        ```python
        two = 2
        ```

        <!-- runs after:
        model = None
        -->
        ```python
        three = model
        ```

        - in a list

          <!-- file: train.py -->
          ```python
          print(4)
          ```

        ```sh
        pip install learnrate
        learnrate select \\
            train.py:build
        ```

        ```
        learnrate is not run where it is what was printed
        ```
        """)
    kinds = [(kind, text.strip()) for kind, _, text in steps_of(page, "page")]
    assert kinds == [
        ("python", "one = 1"),
        ("python", "model = None"),
        ("python", "three = model"),
        ("file", "print(4)"),
        ("shell", "learnrate select      train.py:build"),
    ]
    assert environment_of(page) == {"KERAS_BACKEND": "jax"}


def test_a_block_that_is_not_run_says_why():
    with pytest.raises(AssertionError, match="has no reason"):
        steps_of("<!-- not run: -->\n```python\n```\n", "page")
