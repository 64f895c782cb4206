"""Who knows whom in the house, read from the source, and what an import loads."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

import learnrate

PACKAGE = Path(learnrate.__file__).parent
HEAVY = {"torch", "keras", "tensorflow", "jax", "optax", "sklearn", "ray", "scipy", "optuna", "altair", "vl_convert"}
HEAVY |= {"pandas", "rich", "click", "jinja2", "pebble", "cloudpickle", "safetensors", "sqlite3"}

KNOW_NOBODY = {"errors", "curves", "results", "_answer_words", "_numbers"}
NUMERIC = {"suggestions", "schedules", "stopping", "_diagnose"}
VERBS = {"_range_test", "_sweep", "_select", "_search"}
COMMAND_LINE = {"cli", "_command"}
DRAWING = {"charts", "_report", "_drawings", "_pages"}
FRAMEWORKS = {"torch": {"torch"}, "keras": {"keras", "tensorflow", "torch", "jax"}, "sklearn": {"sklearn", "skops"}}
FRAMEWORKS |= {"jax": {"jax", "optax"}}
FRAMEWORKS = {"skorch": {"torch", "sklearn"}} | FRAMEWORKS  # first: its module is named after both


@functools.cache
def modules() -> dict[str, Path]:
    """Every module of the package by its name inside it: "results", "adapters.torch"."""
    paths = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
    return {name: path for name, path in paths.items() if name != "__init__"}


def room(name: str) -> str:
    """The folder that a module stands in, or itself where it stands alone: "adapters" of "adapters.torch"."""
    return name.split(".", maxsplit=1)[0]


@functools.cache
def imported(path: Path, *, inside_functions: bool) -> set[str]:
    """The dotted names that a module imports when it is itself imported, or also what its functions import.

    What stands under `if TYPE_CHECKING:` counts as neither: it is never run.
    """
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not inside_functions:
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: absolute imports only"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return found


def neighbours(name: str, *, inside_functions: bool = False) -> set[str]:
    """The modules of the package that a module imports."""
    known = set(modules())
    found = set()
    for dotted in imported(modules()[name], inside_functions=inside_functions):
        if not dotted.startswith("learnrate."):
            continue
        parts = dotted.split(".")[1:]
        candidates = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
        found.update(next(([one] for one in candidates if one in known), []))
    return found


def others(name: str, *, inside_functions: bool = False) -> set[str]:
    """The packages from elsewhere that a module imports."""
    tops = {dotted.split(".")[0] for dotted in imported(modules()[name], inside_functions=inside_functions)}
    return tops - set(sys.stdlib_module_names) - {"learnrate"}


def rooms_known(name: str) -> set[str]:
    return {room(one) for one in neighbours(name, inside_functions=True)}


def modules_of(rooms: set[str]) -> list[str]:
    found = sorted(name for name in modules() if room(name) in rooms)
    assert {room(name) for name in found} == rooms
    return found


@pytest.mark.parametrize("name", modules_of(KNOW_NOBODY))
def test_results_curves_and_errors_know_nobody(name):
    assert neighbours(name) <= KNOW_NOBODY
    assert others(name) <= {"numpy", "msgspec"}
    assert rooms_known(name) <= KNOW_NOBODY | DRAWING


def numeric_rooms() -> list[str]:
    """The numeric modules, and all that they stand on."""
    found = set(modules_of(NUMERIC))
    while more := {one for name in found for one in neighbours(name)} - found - KNOW_NOBODY:
        found |= more
    return sorted(found)


@pytest.mark.parametrize("name", numeric_rooms())
def test_the_numeric_rooms_know_results_and_numbers_and_never_a_tensor_a_file_or_a_clock(name):
    # `diagnose` takes the path of a log too, and leaves the reading to `logs`
    paths = {"_diagnose": {"logs", "pathlib"}}.get(name, set())
    assert name not in VERBS | COMMAND_LINE | DRAWING | {"training", "study", "logs"}
    assert neighbours(name, inside_functions=True) <= KNOW_NOBODY | set(numeric_rooms()) | paths
    assert others(name, inside_functions=True) <= {"numpy", "scipy", "msgspec"}
    standard = {dotted.split(".")[0] for dotted in imported(modules()[name], inside_functions=True)}
    assert not standard & {"time", "datetime", "pathlib", "os", "io", "tempfile", "shutil", "sqlite3"} - paths


@pytest.mark.parametrize("name", modules_of({"adapters", "engines"}))
def test_adapters_and_engines_import_inward_only(name):
    assert not rooms_known(name) & (VERBS | COMMAND_LINE | DRAWING | {"_selection"})
    assert "_trials.laboratory" not in neighbours(name, inside_functions=True)
    assert not rooms_known(name) & ({"adapters", "engines"} - {room(name)})


@pytest.mark.parametrize("name", [name for name in modules() if room(name) != "adapters"])
def test_nobody_imports_an_adapter_before_it_is_needed(name):
    assert "adapters" not in {room(one) for one in neighbours(name)}


@pytest.mark.parametrize("name", modules())
def test_a_framework_is_imported_by_its_own_adapter_only(name):
    frameworks = {"torch", "keras", "tensorflow", "jax", "optax", "sklearn", "skops", "ray"}
    allowed: set[str] = set()
    if name.startswith("adapters."):
        allowed = next((FRAMEWORKS[one] for one in FRAMEWORKS if one in name), set())
    elif name.startswith("engines."):
        allowed = {"ray"}
    assert others(name) & frameworks <= allowed


@pytest.mark.parametrize("name", [name for name in modules() if room(name) not in COMMAND_LINE])
def test_the_command_line_comes_last(name):
    assert not rooms_known(name) & COMMAND_LINE
    assert not others(name, inside_functions=True) & {"click", "rich"}


@pytest.mark.parametrize("name", modules_of(DRAWING))
def test_charts_and_report_draw_results_and_train_nothing(name):
    assert not rooms_known(name) & (VERBS | {"training", "study", "_trials"})


def loaded_by(statement: str) -> set[str]:
    script = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    return set(
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    )


def test_importing_learnrate_loads_nothing_heavy():
    assert not loaded_by("import learnrate") & (HEAVY | {"numpy", "msgspec"})


@pytest.mark.parametrize("name", ["select", "sweep", "range_test", "diagnose", "Recommendation", "schedules"])
def test_naming_a_verb_loads_no_framework_and_nothing_that_it_may_never_need(name):
    assert not loaded_by(f"import learnrate; learnrate.{name}") & HEAVY


def test_the_command_line_answers_for_help_without_loading_a_framework():
    heavy = HEAVY - {"rich", "click"}
    assert not loaded_by("import learnrate.cli") & heavy


def test_the_public_names_are_these():
    assert sorted(learnrate.__all__) == [
        "CommandTrainable",
        "Diagnosis",
        "FunctionTrainable",
        "Halving",
        "JaxTrainable",
        "KerasTrainable",
        "LearningCurve",
        "LocalEngine",
        "RangeTest",
        "RayEngine",
        "Recommendation",
        "Search",
        "SklearnTrainable",
        "Sweep",
        "TorchTrainable",
        "Trainable",
        "Trial",
        "TrialState",
        "Verdict",
        "__version__",
        "charts",
        "choice",
        "compare",
        "diagnose",
        "integers",
        "log_uniform",
        "logs",
        "range_test",
        "report",
        "schedules",
        "search",
        "select",
        "stopping",
        "sweep",
        "testing",
        "uniform",
        "watch",
    ]


@pytest.mark.parametrize("name", sorted(learnrate.__all__))
def test_every_public_name_can_be_had(name):
    assert getattr(learnrate, name) is not None
    assert name in dir(learnrate)


def test_a_name_that_is_not_public_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'selct'"):
        learnrate.selct  # noqa: B018  # the look-up is what is tested
