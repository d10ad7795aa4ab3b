"""One cell of the grid: a method on a data set, with a seed. Everything that a run can vary."""

from dataclasses import dataclass
from typing import Literal

Value = int | float | str | bool
Overrides = tuple[tuple[str, Value], ...]  # recipe keys, and what they are set to
Origin = Literal["recipe", "object", "imported"]  # a recipe; a live Python object; a ranking made by another program


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What is run; a plain value that can cross into another process."""

    method: str
    search: str | None = None  # for methods that search among vectors
    identifier: str | None = None  # for methods that generate identifiers
    dataset: str
    scale: str
    seed: int = 0
    crop: str = "none"
    protocol: str = "closed-set"
    epochs: int | None = None  # instead of the recipes' epochs: a shortened training
    max_queries: int | None = None  # evaluate only so many: a shortened evaluation
    incremental: bool = False  # hold half of the gallery back in training, and add it afterwards (the paper's Table 6)
    overrides: Overrides = ()  # recipe keys with another value than the recipe's
    default_identifier: str | None = None  # what the variant does not mention: the recipe's own choice …
    default_scale: str | None = None  # … and the data set's, for which alone recipes make exceptions
    origin: Origin = "recipe"  # what stands behind the method's name

    @property
    def name(self) -> str:
        """The method as it is written on the command line and in tables: "ft-clip+scann", "irgen"."""
        return f"{self.method}+{self.search}" if self.search else self.method

    @property
    def is_varied(self) -> bool:
        """Does the method itself differ from its recipe: another identifier, or overridden keys?"""
        return self.identifier != self.default_identifier or bool(self.overrides)

    @property
    def variant(self) -> str | None:
        """Everything that differs from the default run of this method on this data set, as part of a file name."""
        parts = [
            "imported" if self.origin == "imported" else None,
            self.identifier if self.identifier != self.default_identifier else None,
            self.scale if self.scale != self.default_scale else None,
            f"crop-{self.crop}" if self.crop != "none" else None,
            self.protocol if self.protocol != "closed-set" else None,
            "incremental" if self.incremental else None,
            *(f"{key}-{value}" for key, value in self.overrides),
            f"epochs-{self.epochs}" if self.epochs is not None else None,
            f"queries-{self.max_queries}" if self.max_queries is not None else None,
        ]
        return ",".join(part for part in parts if part) or None

    @property
    def label(self) -> str:
        """Name and variant, without the seed: "ft-clip+scann", "irgen@num_codebooks-2"."""
        return f"{self.name}@{self.variant}" if self.variant else self.name

    @property
    def shortened(self) -> dict[str, int]:
        """What was cut short; such results stay out of tables unless requested."""
        wishes = {"epochs": self.epochs, "max_queries": self.max_queries}
        return {name: value for name, value in wishes.items() if value is not None}

    def __str__(self) -> str:
        """The cell as progress and summaries name it."""
        variant = f" ({self.variant})" if self.variant else ""
        return f"{self.name}{variant} on {self.dataset}, seed {self.seed}"
