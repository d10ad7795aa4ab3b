"""The digest of the code that made an artefact: what of a program counts, and what does not."""

import ast
import importlib
import os
import sys
import types
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irbench.runtime import code
from irbench.runtime.code import NEUTRAL, Packages, code_digest, file_digest

TOY = {
    "__init__": '"""A toy."""\n',
    "maker": '''
"""Makes things."""
from typing import TYPE_CHECKING

import json

from toy.parts import near, part
from toy.ring import go

if TYPE_CHECKING:
    from toy.typed import Shape


def make(shape: "Shape"):
    """Make one."""
    from toy.late import finish

    return finish(part(shape) + near(go(2)) + 1)
''',
    "parts": '"""Parts."""\n\n\ndef part(x):\n    return x\n\n\ndef near(x):\n    return x\n',
    "late": "def finish(x):\n    return (x, 'end')\n",
    "ring": "def go(n):\n    from toy.back import again\n\n    return again(n)\n",
    "back": "from .ring import go\n\n\ndef again(n):\n    return n and go(n - 1)\n",
    "typed": "class Shape:\n    pass\n",
    "elsewhere": "x = 1\n",
}


def digest(tmp_path: Path, files: dict[str, str], name: str = "toy.maker") -> str:
    """Write a package `toy` into a new folder and digest the closure of one of its modules."""
    root = tmp_path / f"copy{len(list(tmp_path.iterdir()))}" / "toy"
    for file, text in files.items():
        path = root / f"{file}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Packages({"toy": [root]}, {"toy.neutral"}).digest(name)


def edited(**changes: tuple[str, str]) -> dict[str, str]:
    files = dict(TOY)
    for file, (old, new) in changes.items():
        assert old in files[file]
        files[file] = files[file].replace(old, new)
    return files


def moved() -> dict[str, str]:
    """The toy with its parts in another folder, under another name."""
    files = {name: text.replace("toy.parts", "toy.below.pieces") for name, text in TOY.items()}
    return {**files, "below/__init__": '"""Below."""\n', "below/pieces": files.pop("parts")}


SAME = {
    "comment": edited(parts=("    return x", "    return x  # as it is")),
    "docstring": edited(maker=('"""Make one."""', '"""Make one thing.\n\n    Or another.\n    """')),
    "no docstring": edited(maker=('"""Makes things."""\n', "")),
    "formatting": {name: ast.unparse(ast.parse(text)) for name, text in TOY.items()},
    "quotes": edited(late=("'end'", '"end"')),
    "order of imports": edited(maker=("from toy.parts import near, part\nfrom toy.ring import go",
                                      "from toy.ring import go\nfrom toy.parts import part\nfrom .parts import near")),
    "import for types": edited(maker=("    from toy.typed import Shape\n", "    from toy.typed import Other, Shape\n")),
    "types elsewhere": edited(typed=("pass", "sides = 4")),
    "no types": edited(maker=("if TYPE_CHECKING:\n    from toy.typed import Shape\n", ""), typed=("pass", "sides = 4"))
    | {"maker": edited(maker=("if TYPE_CHECKING:\n    from toy.typed import Shape\n", ""))["maker"].replace(
        "from typing import TYPE_CHECKING\n", "")},
    "relative import": edited(maker=("from toy.ring", "from .ring")),
    "another module": edited(elsewhere=("1", "2")),
    "one more module": {**TOY, "one_more": "import toy.maker\n"},
    "moved file": moved(),
}  # fmt: skip
OTHER = {
    "constant": edited(maker=("+ 1)", "+ 2)")),
    "function that is imported": edited(parts=("def near(x):\n    return x", "def near(x):\n    return -x")),
    "function that is imported later": edited(late=("'end'", "'fin'")),
    "module of a ring": edited(back=("n - 1", "n - 2")),
    "other name imported": edited(maker=("import near, part", "import part, part as near")),
    "other module imported": edited(maker=("from toy.late import finish", "from toy.typed import finish")),
    "name that is bound": edited(late=("def finish", "def finished")),
    "annotation": edited(maker=('"Shape"', '"int"')),
    "code in a package": {**TOY, "__init__": "import sys\nsys.setrecursionlimit(50)\n"},
    "library": edited(maker=("import json", "import simplejson as json")),
    "default": edited(late=("(x):", "(x=None):")),
    "returned None": edited(late=("return (x, 'end')", "return None")),
}


@pytest.mark.parametrize("files", SAME.values(), ids=SAME)
def test_how_a_program_is_written_and_where_it_lies_does_not_count(tmp_path: Path, files: dict[str, str]) -> None:
    assert digest(tmp_path, files) == digest(tmp_path, TOY)


def test_everything_that_it_does_counts(tmp_path: Path) -> None:
    digests = {name: digest(tmp_path, files) for name, files in {"as it was": TOY, **OTHER}.items()}
    assert len(set(digests.values())) == len(digests), digests


def test_what_is_neutral_is_not_followed(tmp_path: Path) -> None:
    def with_neutral(text: str) -> str:
        files = edited(maker=("import json\n", "import json\n\nfrom toy.neutral import say\n"))
        return digest(tmp_path, {**files, "neutral": text})

    assert with_neutral("def say(): print(1)\n") == with_neutral("from toy.elsewhere import x as say\n")


def test_two_modules_of_one_text_differ_by_what_they_import(tmp_path: Path) -> None:
    """The digest of `a` sees two imports of equal modules, whose own imports differ only two steps away."""
    files = {"a": "from toy.b import f\nfrom toy.c import f as g\n", "__init__": ""}
    wrap = {"b": "from toy.d import f\n", "c": "from toy.e import f\n", "d": "f = 1\n", "e": "f = 2\n"}
    crossed = {**wrap, "b": wrap["c"], "c": wrap["b"]}
    assert digest(tmp_path, {**files, **wrap}, "toy.a") != digest(tmp_path, {**files, **crossed}, "toy.a")


GRAPHS = st.integers(1, 7).flatmap(
    lambda size: st.tuples(
        st.just(size),
        st.sets(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1))),
        st.permutations(range(size)),
        st.integers(0, size - 1),
    )
)


@given(GRAPHS)
def test_a_module_counts_exactly_where_it_can_be_reached(tmp_path_factory, graph) -> None:
    """In any graph of imports, circles included, under any names."""
    size, arrows, names, changed = graph
    folder = tmp_path_factory.mktemp("graph")

    def written(value_of_changed: int, name_of) -> list[str]:
        files = {"__init__": ""}
        for module in range(size):
            text = "".join(f"from .m{name_of[to]} import x as x{to}\n" for at, to in sorted(arrows) if at == module)
            value = value_of_changed if module == changed else module
            files[f"m{name_of[module]}"] = f"{text}x = {value}\n"
        return [digest(folder, files, f"toy.m{name_of[module]}") for module in range(size)]

    reach = {at: {at} for at in range(size)}
    for _ in range(size):
        reach = {at: seen | {to for one in seen for by, to in arrows if by == one} for at, seen in reach.items()}
    before, after, renamed = written(changed, range(size)), written(99, range(size)), written(changed, names)
    assert renamed == before
    assert [at for at in range(size) if before[at] != after[at]] == [at for at in range(size) if changed in reach[at]]


def test_a_plug_in_counts_with_its_package_and_what_it_uses_of_irbench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "irbench_toy"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "encoder.py").write_text("from irbench.core.embeddings import Embeddings\nfrom .help import x\n"
                                        "class Mine: pass\nclass Other: pass\n")  # fmt: skip
    (package / "help.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("irbench_toy.encoder")
    before = code_digest(module.Mine)
    assert code_digest(module.Other) != before == code_digest(module.Mine)
    (package / "help.py").write_text("x = 2\n")
    os.utime(package / "help.py", (1, 1))  # clocks of file systems are coarse
    helped = code_digest(module.Mine)
    assert helped != before
    monkeypatch.setitem(NEUTRAL, "irbench.core.embeddings", "for this test")
    assert code_digest(module.Mine) != helped
    for name in ("irbench_toy.encoder", "irbench_toy.help", "irbench_toy"):
        monkeypatch.delitem(sys.modules, name)


def test_a_single_file_counts_with_what_it_imports_from_beside_it(tmp_path: Path) -> None:
    files = {
        "mine.py": "import nets\nfrom parts.near import near\n",
        "nets.py": "def net(x):\n    return x\n",
        "parts/__init__.py": "",
        "parts/near.py": "near = 1\n",
        "other.py": "x = (\n",  # not imported, and no Python
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    def after(name: str, text: str) -> str:
        (tmp_path / name).write_text(text)
        os.utime(tmp_path / name, ns=(1, hash(text) % 10**9))
        return file_digest(tmp_path / "mine.py")

    first = file_digest(tmp_path / "mine.py")
    assert after("other.py", "x = 2\n") == first
    assert after("nets.py", "def net(x):  # the same\n    return x\n") == first
    assert after("nets.py", "def net(x):\n    return -x\n") != first
    assert after("nets.py", files["nets.py"]) == first
    assert after("parts/near.py", "near = 2\n") != first
    second = after("mine.py", "from parts.near import near\nfrom loose.far import near\n")
    (tmp_path / "loose").mkdir()
    third = after("loose/far.py", "near = 3\n")  # a folder without __init__.py
    assert third != second
    assert after("loose/far.py", "near = 4\n") != third
    assert after("loose/far.py", "near = 3\n") == third
    swapped = after("mine.py", "from loose.far import near\nfrom parts.near import near\n")
    assert swapped != third  # of two imports of one name the last one counts


def test_a_class_of_a_notebook_is_like_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "notebook", types.ModuleType("notebook"))
    mine = type("Mine", (), {"__module__": "notebook"})
    first = code_digest(mine)
    assert code_digest(mine) == first
    code._unknown.cache_clear()  # another process
    assert code_digest(mine) != first


@pytest.mark.parametrize("name", NEUTRAL)
def test_neutral_modules_compute_nothing(name: str) -> None:
    """They exist, and use no library that computes."""
    source = Packages({"irbench": [code._ROOT]}).closure(name)[name]
    used = {one.module.partition(".")[0] for run in source.runs for one in run}
    assert used <= {*sys.stdlib_module_names, "irbench", "filelock", "psutil", "pydantic", "rich"}
