"""irbench compares ways to retrieve images: encoders with a search index, and models that generate identifiers.

    import irbench

    result = irbench.evaluate("ft-clip+scann", "digits")
    results = irbench.run(["ft-clip", my_encoder], "digits", search=["linear", "ivfpq"])
    results.to_dataframe()

Names are imported when they are used, so that `import irbench` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from irbench.core import version

if TYPE_CHECKING:
    from irbench.api.arguments import Options
    from irbench.api.encoders import TorchEncoder
    from irbench.api.evaluate import evaluate, load_dataset, run, score
    from irbench.api.mteb import MtebRetriever
    from irbench.api.results import Results, load_results
    from irbench.core.benchmark import Benchmark, ImageSet
    from irbench.core.description import Backbone, Description
    from irbench.core.embeddings import Embeddings
    from irbench.core.errors import (
        ContractError,
        DataError,
        IrbenchError,
        MissingLibrary,
        MissingWeights,
        NotApplicable,
        RecipeError,
        StoreError,
        Unavailable,
        UsageError,
    )
    from irbench.core.identifiers import Identifiers
    from irbench.core.judgements import Judgements, Pairs, SharedLabel
    from irbench.core.promises import Promises
    from irbench.core.ranking import Ranking
    from irbench.metrics.retrieval import Metric, Scores
    from irbench.protocols import (
        Components,
        Encoder,
        Generative,
        Identifier,
        Retriever,
        Searcher,
        SupportsUpdates,
        Trainable,
        UpdatableSearcher,
    )
    from irbench.results.schema import Result
    from irbench.runtime.machine import Runtime

__version__ = version.VERSION

_PUBLIC = {
    "irbench.api.encoders": ("TorchEncoder",),
    "irbench.api.arguments": ("Options",),
    "irbench.api.evaluate": ("evaluate", "load_dataset", "run", "score"),
    "irbench.api.mteb": ("MtebRetriever",),
    "irbench.api.results": ("Results", "load_results"),
    "irbench.core.benchmark": ("Benchmark", "ImageSet"),
    "irbench.core.description": ("Backbone", "Description"),
    "irbench.core.embeddings": ("Embeddings",),
    "irbench.core.errors": (
        "ContractError", "DataError", "IrbenchError", "MissingLibrary", "MissingWeights", "NotApplicable",
        "RecipeError", "StoreError", "Unavailable", "UsageError",
    ),
    "irbench.core.identifiers": ("Identifiers",),
    "irbench.core.judgements": ("Judgements", "Pairs", "SharedLabel"),
    "irbench.core.promises": ("Promises",),
    "irbench.core.ranking": ("Ranking",),
    "irbench.metrics.retrieval": ("Metric", "Scores"),
    "irbench.protocols": (
        "Components", "Encoder", "Generative", "Identifier", "Retriever", "Searcher", "SupportsUpdates", "Trainable",
        "UpdatableSearcher",
    ),
    "irbench.results.schema": ("Result",),
    "irbench.runtime.machine": ("Runtime",),
}  # fmt: skip
_MODULE_OF = {name: module for module, names in _PUBLIC.items() for name in names}

__all__ = [
    "Backbone", "Benchmark", "Components", "ContractError", "DataError", "Description", "Embeddings", "Encoder",
    "Generative", "Identifier", "Identifiers", "ImageSet", "IrbenchError", "Judgements", "Metric", "MissingLibrary",
    "MissingWeights", "MtebRetriever", "NotApplicable", "Options", "Pairs", "Promises", "Ranking", "RecipeError",
    "Result", "Results", "Retriever", "Runtime", "Scores", "Searcher", "SharedLabel", "StoreError", "SupportsUpdates",
    "TorchEncoder", "Trainable", "Unavailable", "UpdatableSearcher", "UsageError", "__version__", "evaluate",
    "load_dataset", "load_results", "run", "score",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'irbench' has no attribute '{name}'")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
