"""Numbers within bounds, for the fields of a `Config`: a recipe with another value is refused when it is read."""

from typing import Annotated

from pydantic import Field

Share = Annotated[float, Field(ge=0, le=1)]
Part = Annotated[float, Field(ge=0, lt=1)]  # a share that is never the whole
