"""Shorthand for tests: the fields of a result whose variant is written as one word, such as "hkm,beam_size-10"."""

from typing import Any

KINDS = ("hkm", "hkm-200", "hkm-500", "rqvae", "random")
SCALES = ("small", "paper")


def fields_of(changes: dict[str, Any]) -> dict[str, Any]:
    """Return what a `Result` is made with: `variant` resolved, and the scale taken to be the data set's own."""
    changes = dict(changes)
    overrides: dict[str, Any] = {}
    for part in (changes.pop("variant", None) or "").split(","):
        key, _, value = part.partition("-")
        if part in KINDS:
            changes |= {"identifier": part}
        elif part in SCALES:
            changes |= {"scale": part, "default_scale": "tiny"}
        elif part == "imported":
            changes |= {"origin": part}
        elif value and key != "epochs":
            overrides[key] = int(value) if value.isdecimal() else value
    return {"default_scale": changes.get("scale", "tiny"), **changes, "overrides": overrides}
