"""What the site needs beyond the pages: the scripts that they link to, which stand outside docs/."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

import griffe
from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
_OUTSIDE = re.compile(r"\]\((?:\.\./)+((?:examples|benchmarks)/[^)#\s]+)\)")


class DoctestExamples(griffe.Extension):
    """Lets docstrings say "Example:" and be shown as code: griffe knows the plural alone."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Rename the section."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add every script that a page links to, as text."""
    linked: set[str] = set()
    for file in files.documentation_pages():
        linked.update(_OUTSIDE.findall(file.content_string))
    for path in sorted(linked):
        if (ROOT / path).is_file():
            files.append(File.generated(config, _place(path), content=(ROOT / path).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001  # the hook's signature
    """Lead links to scripts to their copies in the site."""
    here = posixpath.dirname(page.file.src_uri)
    return _OUTSIDE.sub(lambda found: f"]({posixpath.relpath(_place(found[1]), here or '.')})", markdown)


def _place(path: str) -> str:
    return f"sources/{path}" if path.endswith(".ipynb") else f"sources/{path}.txt"
