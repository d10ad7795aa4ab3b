"""A folder of photographs as a user has one: some classes of Stanford Cars, a folder each.

python tests/photographs.py ../shared/photos ./photos
"""

import sys
from pathlib import Path

from PIL import Image

from irbench.data import datasets

CLASSES, PER_CLASS, SIDE = 12, 20, 320


def make(data: Path, folder: Path) -> Path:
    """Copy 20 photographs of each of 12 classes from `data`/cars196 to `folder`, no larger than 320 pixels."""
    images = datasets.load("cars196-holdout", data=data).train
    for label in range(CLASSES):
        rows = (images.labels == label).nonzero()[0][:PER_CLASS]
        (folder / f"car-{label:02}").mkdir(parents=True)
        for row in rows:
            with Image.open(images.root / images.ids[row]) as photograph:
                photograph.thumbnail((SIDE, SIDE))
                photograph.convert("RGB").save(folder / f"car-{label:02}" / f"{row:05}.jpg", quality=90)
    return folder


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]))
