"""Contracts that every encoder, searcher, identifier and retriever has to keep, as functions that check one.

    from irbench.testing import check_searcher
    check_searcher("projection")                  # a registered name, a class, or an object that is ready to be used
    check_encoder(MyEncoder, epochs=1)            # keyword arguments set keys of its recipe, to make the check short

A broken contract raises an AssertionError that says which one, what was due and what came. `searcher_contracts(…)` and
its siblings yield the same checks one by one, for `pytest.mark.parametrize("contract", …, ids=str)`. pytest itself is
not needed.
"""

from irbench.testing.contracts import Contract
from irbench.testing.encoders import check_encoder, encoder_contracts
from irbench.testing.identifiers import check_identifier, identifier_contracts
from irbench.testing.retrievers import check_retriever, retriever_contracts
from irbench.testing.searchers import check_searcher, searcher_contracts

__all__ = [
    "Contract",
    "check_encoder",
    "check_identifier",
    "check_retriever",
    "check_searcher",
    "encoder_contracts",
    "identifier_contracts",
    "retriever_contracts",
    "searcher_contracts",
]
