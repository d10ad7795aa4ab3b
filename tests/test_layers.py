"""Each layer imports only layers above it: the map of the project, held by the imports themselves."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "irbench"
LAYERS = [
    {"errors", "collection", "ranking", "embeddings", "identifiers", "cell", "rows"},
    {
        "clock",
        "store",
        "machine",
        "registry",
        "recipes",
        "metrics",
        "significance",
        "health",
        "paper",
        "progress",
        "bounds",
        "published",
        "download",
        "unpack",
    },
    {"protocols"},
    {"pictures", "sources", "images", "layouts", "weights", "backbones", "training", "encoders", "searchers", "irgen"},
    {"catalog", "retrievers", "datasets"},
    {"results", "measurement", "experiment", "executor", "grid", "ablation", "query", "examine", "report", "bench"}
    | {"hits", "kept", "fetch", "verify", "exchange", "check"},
    {"console", "options", "cli_bench", "cli_data", "cli_stored", "cli_table", "cli_plot", "cli_read"}
    | {"cli_report", "cli", "__main__"},
]
LIGHT = {"numpy", "irbench"}  # what the nouns may import besides the standard library
FAMILIES = {"encoders", "searchers", "irgen", "layouts"}  # parts that know each other only through protocols


def layer_of(name: str) -> int:
    found = [level for level, names in enumerate(LAYERS) if name in names]
    assert found, f"irbench.{name} is in no layer: add it to the map"
    return found[0]


def imports(path: Path) -> set[str]:
    """Modules that a file imports, those under `if TYPE_CHECKING` left out."""
    tree = ast.parse(path.read_text())
    unseen = {
        id(n)
        for b in ast.walk(tree)
        if isinstance(b, ast.If) and "TYPE_CHECKING" in ast.dump(b.test)
        for n in ast.walk(b)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in unseen:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module} if node.module != "irbench" else {f"irbench.{alias.name}" for alias in node.names}
    return found


def part(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


FILES = [path for path in sorted(ROOT.rglob("*.py")) if part(path) != "__init__"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_layers_above_its_own(path: Path) -> None:
    mine = part(path)
    for name in imports(path):
        other = name.split(".")[1] if name.startswith("irbench.") else None
        if other and other != mine and not other.startswith("_"):
            assert layer_of(other) <= layer_of(mine), f"{path} imports irbench.{other}"
            assert not {mine, other} <= FAMILIES, f"{path}: families meet only in irbench.retrievers"


@pytest.mark.parametrize("name", sorted(LAYERS[0]))
def test_nouns_need_numpy_and_the_standard_library_only(name: str) -> None:
    import sys

    roots = {module.split(".")[0] for module in imports(ROOT / f"{name}.py")}
    assert roots - set(sys.stdlib_module_names) <= LIGHT


def test_recipes_and_results_hold_no_code() -> None:
    for folder in ("methods", "datasets", "results"):
        assert not list((ROOT.parent / folder).rglob("*.py"))


def test_the_command_line_starts_without_heavy_libraries() -> None:
    import subprocess
    import sys

    heavy = ("torch", "timm", "faiss", "sklearn", "scipy", "PIL", "matplotlib")
    code = f"import sys, irbench.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
