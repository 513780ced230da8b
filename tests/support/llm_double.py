"""A model behind both APIs, with the faults of real ones: overloaded, cut off, chatty, inventive, obedient, silent."""

import json
import re
from typing import Any

from doubles import Double
from model_streams import Said, completions, messages

from aorch.memory.block import SECTIONS

KEY = "sk-test-6b1f0d2e9a"
Claims = dict[str, list[dict[str, Any]]]
Answered = tuple[int, Any, dict[str, str]]


class LlmDouble(Double):
    """Answers request by request in the next of `modes`; the last one stays.

    good, fenced, prose, truncated, html, empty, invented_citations, invented_numbers, invented_quotes, obedient, mad,
    overloaded (429, at once again), busy (529, a second), patient (429, in an hour), broken, hanging, unauthorised,
    too_long, no_temperature, no_schema, no_max_tokens, moved (307, to the address `elsewhere`).
    """

    def __init__(self, *modes: str) -> None:
        super().__init__()
        self.modes = list(modes or ("good",))
        self.elsewhere = ""
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str] = []

    def answer(self, method: str, path: str, headers: Any, body: Any) -> Answered | None:
        """Answer a request for a completion."""
        anthropic = path == "/v1/messages"
        if method != "POST" or not (anthropic or path == "/v1/chat/completions"):
            return 404, {"error": {"message": "not found"}}, {}
        mode = self.modes.pop(0) if len(self.modes) > 1 else self.modes[0]
        self.asked.append(body)
        self.keys.append(headers.get("X-Api-Key") or (headers.get("Authorization") or "").removeprefix("Bearer "))
        if mode in ("hanging", "broken"):
            self.closing.wait(10 if mode == "hanging" else 0)
            return None
        refusal = self._refusal(mode, body)
        if refusal:
            return refusal
        if mode == "html":
            return 200, b"<html>welcome</html>", {"Content-Type": "text/html"}
        claims = claims_of(self.text(body), mode)
        return 200, (messages if anthropic else completions)(_said(mode, claims, anthropic)), {}

    @staticmethod
    def text(body: dict[str, Any]) -> str:
        """The text of the user message of a request."""
        return str(body["messages"][-1]["content"])

    def _refusal(self, mode: str, body: dict[str, Any]) -> Answered | None:
        refusals = {
            "overloaded": (429, "rate limited", {"Retry-After": "0"}),
            "busy": (529, "Overloaded", {"Retry-After": "1"}),
            "patient": (429, "come back later", {"Retry-After": "3600"}),
            "moved": (307, "it is elsewhere", {"Location": self.elsewhere}),
            "unauthorised": (401, f"Incorrect API key provided: {KEY}", {}),
            "too_long": (400, f"maximum context length is 8192 tokens\x1b[31m, key {KEY}", {}),
        }
        if mode in refusals:
            status, message, headers = refusals[mode]
            return status, {"type": "error", "error": {"type": "error", "message": message}}, headers
        needs = {"no_temperature": "temperature", "no_max_tokens": "max_tokens"}
        if mode in needs and needs[mode] in body:
            hint = ", use max_completion_tokens" if mode == "no_max_tokens" else ""
            return 400, {"error": {"message": f"`{needs[mode]}` is not supported with this model{hint}"}}, {}
        forced = body.get("tool_choice", {}).get("type") == "tool" or "response_format" in body
        if mode == "no_schema" and forced:
            return 400, {"error": {"message": "tool_choice and response_format are not supported"}}, {}
        return None


def contracts_in(text: str) -> list[dict[str, Any]]:
    """The contracts between the tags of a question."""
    element = re.search(r"<(contracts-[0-9a-f]+)>\n(.*)\n</\1>", text, re.DOTALL)
    assert element, text[:200]
    return [json.loads(line) for line in element[2].split("\n")]


def claims_of(text: str, mode: str) -> Claims:
    """An answer made of the contracts that the double received; in some modes with the mistakes of a bad model."""
    contracts = contracts_in(text)
    answer: Claims = {section: [] for section in SECTIONS}
    if mode == "empty":
        return answer
    wish = next(iter(contracts[0]["payload"].values()))[:60].rpartition(" ")[0]
    answer["aims"].append(_claim(f"What {contracts[0]['from_agent']} wanted: {wish}", contracts[:1], [wish]))
    for contract in contracts:
        _say(answer, contract)
    extra = _ADDED.get(mode)
    if extra:
        answer["decisions"].append(extra(contracts[-1]))
    if mode == "obedient":
        orders = [(re.findall(r"SAY: ([^\"\\]+)", json.dumps(contract)), contract) for contract in contracts]
        said = [_claim(order, [contract]) for told, contract in orders for order in told]
        return dict.fromkeys(SECTIONS, said)
    if mode == "mad":
        return {"aims": "none", "decisions": [None, 7, {"text": 5}, {"text": "x", "cites": []}], "failures": {}}  # type: ignore[dict-item, list-item]
    return answer


_ADDED = {
    "invented_citations": lambda last: {"text": "Nothing more is to be done", "cites": ["c99999"], "quotes": []},
    "invented_numbers": lambda last: _claim(f"{last['capability']} took 987654 ms and was fine", [last]),
    "invented_quotes": lambda last: _claim("it was approved", [last], ["approved by the board of directors"]),
}


def _say(answer: Claims, contract: dict[str, Any]) -> None:
    if "error" in contract:
        error = contract["error"] if isinstance(contract["error"], str) else json.dumps(contract["error"])
        line = error.split("\n")[0][:80]
        answer["failures"].append(_claim(f"{contract['capability']} failed: {line}", [contract], [line]))
    elif contract["contract_type"] == "RESPONSE":
        first = next((v for v in contract.get("result", {}).values() if isinstance(v, str)), "")
        line = first.split("\n")[0][:80].strip()
        answer["results"].append(
            _claim(f"{contract['capability']} answered: {line}", [contract], [line] if line else [])
        )


def _claim(text: str, contracts: list[dict[str, Any]], quotes: list[str] | None = None) -> dict[str, Any]:
    cites = [contract["label"] for contract in contracts]
    return {"text": text, "cites": cites, "quotes": quotes or [], "importance": 0.7}


def _content(mode: str, claims: Claims) -> str:
    text = json.dumps(claims)
    if mode == "prose":
        return "The session went well {overall}, I think. Shall I go on?"
    if mode in ("fenced", "no_schema"):
        return f"Here you are:\n```json\n{text}\n```\nAnything else?"
    return text[: len(text) * 2 // 3] if mode == "truncated" else text


def _said(mode: str, claims: Claims, anthropic: bool) -> Said:
    # of a server without a stop reason for it, only the text shows that it was cut off
    stop = "limit" if mode == "truncated" and anthropic else "end"
    as_tool = anthropic and mode not in ("prose", "fenced", "truncated", "no_schema")
    return Said(_content(mode, claims), stop, (1000, 100, None), as_tool=as_tool)
