"""`--embedding`: in what form embeddings are searched, such as dims=128,int8."""

from typing import NamedTuple

from irbench.core.cell import Value
from irbench.core.errors import UsageError, nearest

_TYPES = {
    "float32": "linear",
    "float16": "fp16",
    "int8": "sq8",
    "binary": "binary",
}  # and the search that compares them
_NUMBERS = {"dims": "embedding.dims", "pca": "embedding.pca", "rescore": "rerank"}  # and their keys in recipes


class Form(NamedTuple):
    """What a form of embeddings is in recipes."""

    overrides: tuple[tuple[str, Value], ...]
    search: str | None


def parse(text: str) -> Form:
    """Read a form: dims=N, pca=N, a type, rescore=N, with commas between them; `UsageError` for anything else."""
    overrides: dict[str, Value] = {}
    types: list[str] = []
    for part in text.replace(" ", "").split(","):
        name, equals, value = part.partition("=")
        if _NUMBERS.get(name) in overrides:
            raise UsageError(f"--embedding {text}: {name} twice; name one", code="bad-value")
        if not equals and name in _TYPES:
            types.append(name)
        elif name in _NUMBERS and value.isdecimal() and (int(value) or name == "rescore"):
            overrides[_NUMBERS[name]] = int(value)
        else:
            known = (*_NUMBERS, *_TYPES)
            raise UsageError(
                f"--embedding {text}: '{part}' is none of {', '.join(f'{one}=N' for one in _NUMBERS)}, "
                f"{', '.join(_TYPES)}{nearest(name, known)}",
                code="bad-value",
            )
    if len(types) > 1:
        raise UsageError(f"--embedding {text}: {' and '.join(types)} are two types; name one", code="bad-value")
    if "rerank" in overrides and types in ([], ["float32"]):
        raise UsageError(
            f"--embedding {text}: rescore is for types whose distances are rounded: float16, int8, binary",
            code="bad-value",
        )
    return Form(tuple(overrides.items()), _TYPES[types[0]] if types else None)
