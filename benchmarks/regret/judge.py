"""The judge: what methods are worth on problems that nothing was chosen on.

    python -m benchmarks.regret.judge DIRECTORY select_2 select_3     # aggregates alone are printed

It needs a clean tree. The entry (date, commit, methods) is written into judge.jsonl *before* anything runs, and what
was found is added to it; the entry is to be committed whatever it says. Every look at the judge half tells something
about it, so looks are few. Killed, the same command at the same commit goes on, with the same entry.
"""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
from benchmarks.regret import answers, data, figures
from benchmarks.regret.methods import METHODS
from benchmarks.regret.tasks import JUDGE

LEDGER = Path(__file__).with_name("judge.jsonl")
ROOT = Path(__file__).parents[2]


def entries() -> list[dict[str, Any]]:
    """The ledger, oldest first."""
    return list(answers.lines(LEDGER))


def git(*words: str) -> str:
    """What git says."""
    run = subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True)  # noqa: S607  # the PATH's git
    return run.stdout


def begin(methods: tuple[str, ...], why: str) -> dict[str, Any]:
    """Write this look's entry, or find that of a look which was killed."""
    changed = [line[3:] for line in git("status", "--porcelain").splitlines()]
    if [path for path in changed if path != str(LEDGER.relative_to(ROOT))]:
        raise click.UsageError(
            f"the tree is not clean ({', '.join(changed[:5])}): commit first, so that a commit is judged"
        )
    commit = git("rev-parse", "HEAD").strip()
    ledger = entries()
    if (
        ledger
        and ledger[-1]["commit"] == commit
        and ledger[-1]["methods"] == list(methods)
        and not ledger[-1]["figures"]
    ):
        return ledger[-1]
    import learnrate

    entry = {
        "number": len(ledger) + 1,
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "commit": commit,
        "version": learnrate.__version__,
        "why": why,
        "methods": list(methods),
        "problems": len(JUDGE),
        "figures": {},
    }
    answers.append(LEDGER, entry)
    return entry


def finish(entry: dict[str, Any]) -> None:
    """Put what was found into the entry."""
    ledger = [entry if row["number"] == entry["number"] else row for row in entries()]
    LEDGER.write_text("".join(json.dumps(answers.plain(row)) + "\n" for row in ledger))


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.argument("methods", nargs=-1, type=click.Choice(sorted(METHODS)), required=True)
@click.option("--why", required=True, help="What is to be found out, for the ledger.")
@click.option("--processes", default=2, show_default=True)
def main(directory: Path, methods: tuple[str, ...], why: str, processes: int) -> None:
    """Judge METHODS by real runs with three seeds; DIRECTORY, outside the repository, keeps what is finished."""
    if not data.are_sources_recorded():
        raise click.UsageError("some problems learn the standard library's sources: use Python 3.11.5 or a later 3.11")
    if directory.resolve().is_relative_to(ROOT):
        raise click.UsageError(f"{directory} is inside the repository: single cases of the judge half stay out of it")
    entry = begin(methods, why)
    directory = directory / entry["commit"][:12]
    count = 0

    def told(_: str) -> None:
        nonlocal count
        count += 1
        if count % 50 == 0:
            print(f"{count} done", file=sys.stderr, flush=True)

    answers.ask_and_measure(
        directory, {name: METHODS[name] for name in methods}, JUDGE, processes=processes, told=told, unsealed=True
    )
    measures = answers.Measures(directory, JUDGE, unsealed=True)
    for method in methods:
        rows = [row for row in answers.read(directory).values() if row.method == method]
        found = figures.aggregate(method, figures.cases_of(rows, measures))
        entry["figures"][method] = found
        print(figures.text(method, found))
    finish(entry)


if __name__ == "__main__":
    main()
