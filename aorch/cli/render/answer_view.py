"""Shows the answer of a task: its data on standard output, and everything else on standard error."""

import sys
from typing import TYPE_CHECKING

from aorch.cli.render.console import complain, note, print_json, print_json_line, print_stderr, print_text
from aorch.errors import AgentFailed

if TYPE_CHECKING:
    from aorch.engine.task import Answer


def show_answer(answer: "Answer", as_json: bool) -> int:
    """Show the answer. Returns the exit code of the command."""
    if as_json:
        print_json_line(answer.as_dict())
    elif answer.success or answer.data is not None:
        text = answer.data
        if isinstance(text, dict) and len(text) == 1:  # the only value of an object stands for it
            (text,) = text.values()
        if not isinstance(text, str):
            print_json(answer.data)
        elif text or answer.success:
            print_text(text)
    elif answer.stdout:
        print_text(answer.stdout)
    if answer.stderr and not as_json and answer.stderr.strip() not in (answer.error or ""):
        print_stderr(answer.stderr)
    if answer.failure is not None:
        of_agent = not as_json and issubclass(answer.failure, AgentFailed)
        complain(answer.failure(_named(answer) if of_agent else answer.error or "", answer.hint))
    if sys.stderr.isatty():
        note(_summary(answer))
    return answer.failure.exit_code if answer.failure else 0


def _named(answer: "Answer") -> str:
    """The error of the agent, with the capability and the agent, unless its text names them."""
    error, agent_id = answer.error or "", answer.agent_id or ""
    given = {"capability": answer.capability, "agent": "" if agent_id == answer.capability else agent_id}
    missing = {what: name for what, name in given.items() if name and not _has_word(error, name)}
    if len(missing) == 2:
        return f"{answer.capability} (agent {agent_id}): {error}"
    return ": ".join((*missing.values(), error))


def _has_word(text: str, word: str) -> bool:
    import re

    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) is not None


def _summary(answer: "Answer") -> str:
    """The agent, the duration, the contract and the session, unless aorch generated that for this task only."""
    from aorch.engine.task import is_generated

    program = f" · exit code {answer.exit_code}" if answer.exit_code else ""
    session = "" if is_generated(answer.session_id) else f" · session {answer.session_id}"
    took = f"{answer.duration_ms:.0f} ms" if answer.duration_ms < 10_000 else f"{answer.duration_ms / 1000:.1f} s"
    return f"{answer.agent_id or 'no agent'} · {took}{program} · contract {answer.contract_id}{session}"
