"""Images in a column of a Hugging Face `datasets.Dataset`, as MTEB has them: decoded when they are read."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from irbench.core.benchmark import ImageSet
from irbench.core.errors import DataError, UsageError
from irbench.data.decode import decode, read_bytes
from irbench.runtime import libraries

_ID, _IMAGE = "id", "image"  # the columns of MTEB's corpora and queries


def image_set(rows: Any, name: str) -> ImageSet:
    """Return the rows of a dataset with columns "id" and "image" as images without labels, called `name`."""
    column = libraries.hub_datasets().Image
    if not isinstance(rows.features.get(_IMAGE), column):
        raise UsageError(
            f"the {name} of this task have no column '{_IMAGE}' of images (only {', '.join(rows.features)}): choose a "
            "task that retrieves images by an image",
            code="needs-images",
        )
    images = DatasetImages(rows.with_format(None).cast_column(_IMAGE, column(decode=False)))
    return ImageSet(name=name, ids=images.ids, labels=np.zeros(len(images), np.int64), generated=images)


@dataclass(frozen=True, eq=False)
class DatasetImages:
    """N encoded images of a dataset, by the rules of `irbench.data.decode`; see `irbench.core.benchmark.Generated`."""

    rows: Any  # datasets.Dataset whose images are not decoded

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def ids(self) -> Sequence[str]:
        """[N]."""
        return tuple(map(str, self.rows[_ID]))

    @cached_property
    def made_from(self) -> bytes:
        """SHA-256 of the contents of all images."""
        return hashlib.sha256(self.contents().tobytes()).digest()

    def contents(self) -> NDArray[np.uint8]:
        """Return the SHA-256 [N,32] of what each image is encoded as, which is that of its file where it has one."""
        return self._hashes

    @cached_property
    def _hashes(self) -> NDArray[np.uint8]:
        hashes = (hashlib.sha256(self._encoded(row)).digest() for row in range(len(self)))
        return np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 32)

    def image(self, row: int) -> NDArray[np.uint8]:
        """Return one image [H,W,3]; `DataError` names the row and the reason."""
        try:
            return np.asarray(decode(self._encoded(row)))
        except DataError as error:
            raise DataError(f"row {row}, '{self.ids[row]}': {error}", code=error.code) from None

    def take(self, rows: NDArray[np.int64]) -> Self:
        """Return the images at `rows`, in that order."""
        return type(self)(self.rows.select(rows))

    def _encoded(self, row: int) -> bytes:
        """Return the bytes of an image, which a dataset holds itself or knows the file of."""
        found = self.rows[int(row)][_IMAGE] or {}
        if found.get("bytes") is not None:
            return bytes(found["bytes"])
        if found.get("path") is None:
            raise DataError("no image in this row", code="unreadable-image")
        return read_bytes(Path(found["path"]))
