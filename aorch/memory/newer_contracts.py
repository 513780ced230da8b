"""What the newest contracts of a session say that no memory block covers yet, as claims for a prompt."""

from msgspec.structs import replace

from aorch.config.ledger_location import LedgerLocation
from aorch.ledger.memory_blocks import Memory
from aorch.ledger.reader import Filter, Reader
from aorch.memory import safe_text
from aorch.memory.block import Claim
from aorch.memory.budget import END, Item
from aorch.memory.local.candidate_claims import candidate_claims
from aorch.memory.local.collecting import collect_findings
from aorch.memory.quotations import SAID

_MOST_READ = 12
"""Number of the newest contracts that are read: a prompt has room for a few of them."""
_ASKED = 0.98
"""Importance of what a person asked last, if it was answered: more than that of failures, which are about it."""


def newest_claims(
    memory: Memory, ledger: LedgerLocation, session_id: str, after: int
) -> tuple[list[Item], frozenset[str]]:
    """Claims of the newest contracts of a session after a position, and the REQUESTs (ids) of earlier ones that they answer.

    What a person asked last, and unanswered REQUESTs, are the most important.
    """
    corrections = frozenset(memory.correction_ids(session_id, after))
    with Reader(ledger) as reader:
        rows = reader.page(Filter(session_id=session_id), after=after, limit=_MOST_READ + len(corrections))
    contracts = [row.as_dict() for row in reversed(rows) if row.contract_id not in corrections][-_MOST_READ:]
    ends = [contracts[place]["contract_id"] for place in (0, -1)] if contracts else []
    asked_before = memory.asked_before(session_id, *ends) if ends else ()
    findings = collect_findings(contracts, asked_before)
    findings.aim = None  # that of the session is in its first block
    items, _ = candidate_claims(findings, None)
    person = f"{safe_text.shown(findings.parties.starter or '')}{SAID}"
    asked = next(
        (claim for section, claim in items if section == "preferences" and claim.text.startswith(person)), None
    )
    told = [item for item in items if item[0] != "literals"]
    return [(section, _weighed(section, claim, asked)) for section, claim in told], frozenset(findings.answered_before)


def _weighed(section: str, claim: Claim, asked: Claim | None) -> Claim:
    if claim is asked:
        return replace(claim, importance=_ASKED)
    return replace(claim, importance=END) if section == "open_points" else claim
