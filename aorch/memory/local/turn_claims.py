"""Makes claims about the turns of a team: an agent that had nothing to do, the one that ended the work, and values that were
given to the team.
"""

from collections.abc import Iterator

from aorch.memory import safe_text
from aorch.memory.block import Claim
from aorch.memory.local.findings import Findings
from aorch.memory.local.wording import claim_of, said

_IDLE, _SIGNAL = 0.35, 0.3
"""Importance of an answer of an agent that had nothing to do, and of the signal that ends the work."""
_WIDTH, _GIVEN = 110, 160
"""Characters of the answer of an agent that had nothing to do, and of values that were given as known."""


def signal_claim(g: Findings) -> Iterator[Claim]:
    """A claim of the signal with which another agent than the author of the answer ended the work."""
    if g.signal is not None and g.copied is not None and g.signal[2] != g.copied.author:
        identity, number, agent, signal = g.signal
        yield claim_of(f"{safe_text.shown(agent)}: «{signal}»", "", [signal], [identity], _SIGNAL, number, [1])


def idle_claims(g: Findings) -> Iterator[Claim]:
    """A claim for the first answer of each agent that had nothing to run, unless it is the answer to a person."""
    for agent, (identity, number, sentence) in g.idle.items():
        if g.copied is None or g.copied.author != agent:
            words = said([sentence], _WIDTH)
            yield claim_of(f"{safe_text.shown(agent)}: {words.text}", "", words.quotes, [identity], _IDLE, number, [1])


def given_claim(g: Findings) -> Iterator[Claim]:
    """A claim of the values that were given to the team as known."""
    if g.given is not None:
        identity, number, agent, place, lines = g.given
        who, words, brief = safe_text.shown(agent), said(lines, _GIVEN), said(lines, _WIDTH)
        yield claim_of(f"{who}: {words.text}", f"{who}: {brief.text}", words.quotes, [identity], _IDLE, number, [place])
