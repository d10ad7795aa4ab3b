"""A small Revisited Oxford in its published layout."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

GALLERY, QUERIES = 12, 3


def truth() -> dict[str, Any]:
    """Return the content of a ground truth: of each kind of query."""
    judged = [
        {"bbx": [2.5, 1.0, 22.4, 15.0], "easy": [3, 1], "hard": [7], "junk": [0, 11, 5]},
        {"bbx": [0, 0, 30, 20], "easy": [10], "hard": [], "junk": [2]},
        {"bbx": [5.5, 5.5, 20.5, 20.0], "easy": [], "hard": [4, 6], "junk": []},
    ]
    return {
        "imlist": [f"oxford_{number:06d}" for number in range(GALLERY)],
        "qimlist": [f"ashmolean_{number:06d}" for number in range(QUERIES)],
        "gnd": judged,
    }


def write(root: Path, found: Any = None, protocol: int = 2) -> Path:
    """Lay the ground truth and the images, of 30 x 20 pixels, below `root`."""
    known = truth()
    (root / "jpg").mkdir(parents=True, exist_ok=True)
    (root / "gnd_roxford5k.pkl").write_bytes(pickle.dumps(known if found is None else found, protocol))
    rng = np.random.default_rng(0)
    for name in (*known["imlist"], *known["qimlist"]):
        noise = rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(noise).save(root / "jpg" / f"{name}.jpg")
    return root
