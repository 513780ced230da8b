"""A block tells the work in its order: causes before effects, and the sentences of a message as they were said."""

from itertools import pairwise

import pytest
from local_blocks import block_of, faults
from memory_sessions import Session

from aorch.memory.prompt import prompt_text


def shown(session: Session, max_tokens: int = 512) -> str:
    block = block_of(session.contracts, max_tokens=max_tokens)
    assert faults(block, session.contracts) == []
    return prompt_text([block], max_tokens)[0]


def many_steps(s: Session, count: int = 30) -> None:
    for n in range(count):
        s.calls("bot", "store", "read_node", {"node": f"N-{n}"}, {"state": f"works as before, load {n} of 100"})


def in_order(text: str, *parts: str) -> bool:
    """Whether the parts occur in `text` one after the other."""
    places = [text.find(part) for part in parts]
    return min(places) >= 0 and all(one < other for one, other in pairwise(places))


@pytest.mark.parametrize("steps", [0, 30])
def test_equal_failures_stand_where_the_first_of_them_led_to_the_next_step(steps: int) -> None:
    s = Session()
    s.asks("ann", "bot", "assist", {"text": "Please restore the table of orders from the dump."})
    many_steps(s, steps)
    failed = {"command": "restore orders.dump"}
    first = s.calls("bot", "shell", "bash", failed, error="restore: orders.dump: Permission denied")
    s.calls("bot", "shell", "bash", {"command": "chmod u+r orders.dump"}, {"output": "mode of orders.dump changed"})
    last = s.calls("bot", "shell", "bash", failed, error="restore: orders.dump: Permission denied")
    s.calls("bot", "shell", "bash", {"command": "sudo restore orders.dump"}, {"output": "4 tables restored"})
    text = shown(s)
    assert in_order(text, "restore orders.dump» failed ×2", "chmod u+r orders.dump", "4 tables restored")
    line = next(line for line in text.splitlines() if "failed ×2" in line)
    assert line.endswith(f"[{first[-4:]} {last[-4:]}]")


def test_sentences_of_one_message_are_on_one_line_in_their_order() -> None:
    s = Session()
    s.says("ann", "bot", "Please check every node of the two clusters.", "I will check them now.")
    many_steps(s)
    s.says(
        "ann",
        "bot",
        "The nodes N-7 and N-9 are slow since Monday. We decided to replace N-9. "
        "Could you please tell me which of the other nodes have the same disks?",
        "I will look at the disks.",
    )
    many_steps(s, 4)
    text = shown(s)
    assert in_order(text, "N-9 are slow since Monday", "We decided to replace N-9.", "Could you please tell me")
    assert sum("N-9" in line for line in text.splitlines()) == 1
