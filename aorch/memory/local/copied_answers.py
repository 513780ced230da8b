"""Makes the claim of an answer to a person that another agent wrote."""

from aorch.memory import safe_text
from aorch.memory.block import ANSWERED, WITH_WORDS, Claim
from aorch.memory.budget import END
from aorch.memory.local.calls import Copied
from aorch.memory.local.wording import claim_of


def copy_claim(copied: Copied) -> Claim:
    """An answer to a person that another agent wrote: its words are shown as that agent's."""
    who, whom, author = map(safe_text.shown, (copied.agent, copied.whom, copied.author))
    text = f"{who} {ANSWERED} {whom} {WITH_WORDS} {author}"
    return claim_of(text, "", (), [copied.contract_id, copied.first_id], END, copied.number)
