"""Where and how cells are run, checked before anything is computed."""

from dataclasses import dataclass
from pathlib import Path

from irbench.core.errors import UsageError, check_choice
from irbench.runtime.machine import DEVICES, PRECISIONS
from irbench.runtime.together import ALONE, Together

_WEIGHTS = "*.safetensors"
_LARGEST = 1e9  # GB; and no NaN


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where and how cells are run; a plain value that can cross into another process."""

    data: Path
    work: Path
    results: Path
    device: str = "auto"
    precision: str = "auto"
    weights: tuple[Path, ...] = ()  # files, or folders of files, one for each backbone
    on_bad_image: str = "fail"
    pixel_cache: float | None = None  # most GB of decoded images in the work folder; None: half of what is free
    name: str | None = None  # of a data set of one's own, in results …
    ks: tuple[int, ...] = ()  # … and at which K its metrics are computed
    cores: int | None = None  # to compute with, where others run beside it
    waits: bool = True  # for what another process is making
    together: Together = ALONE  # with whom a cell's networks are trained

    def __post_init__(self) -> None:
        check_choice("--device", self.device, DEVICES)
        check_choice("--precision", self.precision, PRECISIONS)
        check_choice("--on-bad-image", self.on_bad_image, ("fail", "skip"))
        if self.pixel_cache is not None and not 0 <= self.pixel_cache < _LARGEST:
            raise UsageError(f"--pixel-cache {self.pixel_cache}: a number of GB is needed", code="bad-value")
        for path in self.weights:
            if not path.exists():
                raise UsageError(f"--weights {path}: no such file or folder", code="no-such-file")
            if path.is_dir() and not any(path.glob(_WEIGHTS)):
                raise UsageError(f"--weights {path}: this folder holds no {_WEIGHTS}", code="no-such-file")

    @property
    def weight_files(self) -> tuple[Path, ...]:
        """The files of weights that were named, of a folder all that it holds."""
        return tuple(
            file for path in self.weights for file in (sorted(path.glob(_WEIGHTS)) if path.is_dir() else (path,))
        )
