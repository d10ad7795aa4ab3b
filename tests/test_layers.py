"""The house: every room imports only rooms on floors below its own, read from the folders themselves."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "irbench"
FLOORS = (  # from the top down; rooms of one floor do not know each other
    {"cli"},
    {"api"},
    {"testing"},
    {"report", "bench"},
    {"experiments"},
    {"results"},
    {"retrievers"},
    {"training"},
    {"networks"},
    {"data"},
    {"metrics", "config", "runtime", "protocols", "paper"},
    {"core"},
)
FRONT = {"__init__", "__main__"}  # the public face and `python -m irbench` may name any room
LIGHT = {"numpy", "irbench"}  # what the nouns may import besides the standard library
FAMILIES = {"encoders", "searchers", "irgen"}  # retrievers that know each other only through protocols
FILES = sorted(ROOT.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def module(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path) for path in FILES}


def imports(path: Path, *, for_types: bool = True) -> set[str]:
    """Modules that a file imports, anywhere in it; without `for_types` those under `if TYPE_CHECKING` are left out."""
    tree = ast.parse(path.read_text())
    typed = [n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.dump(n.test)]
    unseen = {id(node) for block in typed for node in ast.walk(block)} if not for_types else set()
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and id(node) not in unseen:
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and id(node) not in unseen:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else str(node.module) for name in inner}
    return found


def test_every_room_stands_on_one_floor() -> None:
    rooms = {room(path) for path in FILES} - FRONT
    assert sorted(name for floor in FLOORS for name in floor) == sorted(rooms)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_rooms_on_lower_floors(path: Path) -> None:
    floor_of = {name: level for level, floor in enumerate(FLOORS) for name in floor}
    for name in sorted(imports(path)):
        other = name.split(".")[1] if name.startswith("irbench.") else room(path)
        if room(path) not in FRONT | {other}:
            assert floor_of[other] > floor_of[room(path)], f"{module(path)} imports {name}"


def test_no_file_imports_itself_by_way_of_others() -> None:
    graph = {module(path): imports(path, for_types=False) & MODULES - {module(path)} for path in FILES}
    assert set(TopologicalSorter(graph).static_order()) == MODULES  # a CycleError names the circle


def test_families_of_retrievers_meet_only_through_protocols() -> None:
    for family in FAMILIES:
        for path in (ROOT / "retrievers" / family).rglob("*.py"):
            others = FAMILIES - {family}
            assert not [n for n in imports(path) if n.startswith("irbench.retrievers.") and n.split(".")[2] in others]


@pytest.mark.parametrize("path", sorted((ROOT / "core").glob("*.py")), ids=lambda path: path.stem)
def test_nouns_need_numpy_and_the_standard_library_only(path: Path) -> None:
    assert {name.split(".")[0] for name in imports(path)} - set(sys.stdlib_module_names) <= LIGHT


def test_protocols_are_about_nouns_only() -> None:
    assert {name.split(".")[1] for name in imports(ROOT / "protocols.py") if name.startswith("irbench")} == {"core"}


def test_recipes_and_results_hold_no_code() -> None:
    for folder in ("methods", "datasets", "results"):
        assert not list((ROOT.parent / folder).rglob("*.py"))


@pytest.mark.parametrize("name", ["irbench", "irbench.cli.main"])
def test_what_starts_every_command_imports_no_heavy_library(name: str) -> None:
    heavy = ("torch", "timm", "faiss", "sklearn", "scipy", "PIL", "matplotlib", "pandas")
    code = f"import sys, {name}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
