"""The conclusion that is shown at the end of a session whose last answer has none."""

from aorch.memory import safe_text
from aorch.memory.block import CONCLUDED, Claim
from aorch.memory.budget import END
from aorch.memory.local.findings import Findings
from aorch.memory.local.sentence_kinds import LONGEST_SENTENCE, concludes
from aorch.memory.local.spoken_sentences import SpokenSentence
from aorch.memory.local.wording import claim_of, said
from aorch.memory.segments import words

_OF_QUESTION = 3
"""Words of the question that a sentence with content has if it has no exact string."""


def last_conclusion(g: Findings) -> SpokenSentence | None:
    """The newest conclusion of another agent, if the answer to a person has words of an agent that concludes nothing."""
    if g.copied is None or g.end is None or any(map(concludes, safe_text.sentences(g.end.text))):
        return None
    asked = words(g.aim.said) if g.aim else set[str]()
    telling = [
        one
        for one in g.said
        if not (one.asks or one.by_caller or one.decides or one.agent == g.copied.author)
        and concludes(one.sentence)
        and has_content(one, asked)
    ]
    return max(telling, key=lambda one: (one.number, one.worth), default=None)


def conclusion_claim(one: SpokenSentence) -> Claim:
    """The claim of the last conclusion, which is shown at the end."""
    words = said([one.sentence], LONGEST_SENTENCE)
    text = f"{safe_text.shown(one.agent)} {CONCLUDED}: {words.text}"
    return claim_of(text, "", words.quotes, [one.contract_id], END, one.number, [one.place])


def has_content(one: SpokenSentence, asked: set[str]) -> bool:
    """Whether a sentence has exact strings, numbers or quotations, or several words of the question."""
    told = " ".join((one.sentence, *one.follows))
    return bool(one.names) or '"' in told or any(map(str.isdigit, told)) or len(words(told) & asked) >= _OF_QUESTION
