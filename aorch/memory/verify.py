"""Whether a block says only what its contracts say."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from aorch.memory.block import MemoryBlock
from aorch.memory.facts import strings_of
from aorch.memory.labels import misstated


def verify(
    block: MemoryBlock,
    contract_of: Callable[[str], Mapping[str, Any] | None],
    covered: Iterable[Mapping[str, Any]] | None = None,
    asked_before: Iterable[str] = (),
) -> list[str]:
    """What does not hold in `block`, a sentence each; nothing where all of it does.

    Each citation must lead to a contract (`contract_of` gives it in its JSON form, or None), and each quoted string must
    stand in one of the contracts that its claim cites: within a string of it, as a key, or in its compact JSON text. If the
    contracts that the block covers are given (`covered`, oldest first, and the agents that were `asked_before`), its counts
    and what its claims call those contracts must be so (labels.py).
    """
    faults = list(_faults(block, contract_of))
    return faults if covered is None else faults + misstated(block, covered, asked_before)


def _faults(block: MemoryBlock, contract_of: Callable[[str], Mapping[str, Any] | None]) -> Iterator[str]:
    for section, claim in block.claims():
        name = f"{section}: {claim.text[:60]!r}"
        if not claim.contract_ids:
            yield f"{name} cites no contract"
        contracts = []
        for identity in claim.contract_ids:
            contract = contract_of(identity)
            if contract is None:
                yield f"{name} cites {identity}, which is not there"
            else:
                contracts.append(contract)
        for quote in _missing(claim.quotes, contracts):
            yield f"{name} quotes {quote[:60]!r}, which stands in none of the contracts that it cites"


def _missing(quotes: Iterable[str], contracts: Iterable[Mapping[str, Any]]) -> list[str]:
    missing = list(quotes)
    for contract in contracts:
        for text in strings_of(contract):
            missing = [quote for quote in missing if quote not in text]
            if not missing:
                return []
    return missing
