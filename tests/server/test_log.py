"""Logs: no text from outside controls a terminal, hides a part of a line or looks like another line."""

import json
import logging
import socket
from contextlib import closing

import pytest
from homes import Home
from hypothesis import given
from hypothesis import strategies as st
from serving import serving
from waiting import WAIT_S, wait_for

from aorch.logs import ROOT, SERVICE_LOGGERS, escaped
from aorch.server.access_log import RequestLog

STEERING = "\x1b[2J\x07\x9b\x7f\u202e\u2066\u200f\u061c\u2028\u0085\U000e0041"
RAISES = """
from aorch.agents import Agent, AgentCapability

class Raises(Agent):
    def __init__(self):
        super().__init__("raises", "Raises", "Fails")

    async def execute(self, task):
        raise ValueError(task["parameters"]["text"])

    def get_capabilities(self):
        return [AgentCapability("raise")]
"""


@given(st.text())
def test_an_escaped_text_is_printable_and_keeps_its_content(text: str) -> None:
    lines = escaped(text).split("\n")
    assert all(line.isprintable() for line in lines)
    assert all(line.startswith("  ") for line in lines[1:])
    quoted = json.dumps(text, ensure_ascii=False)
    if "\n" not in quoted:
        assert json.loads(escaped(quoted)) == json.loads(quoted)


def test_usual_texts_stay_as_they_are() -> None:
    for text in ("GET /v1/health 200", "naïve 数据 天気 \U0001f989", "a\n  b"):
        assert escaped(text) == text


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_a_request_has_the_same_line_with_and_without_another_handler(
    capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    """Only with another handler, of the program that embeds aorch, a record is created."""
    log = RequestLog(as_json=as_json)
    records: list[logging.LogRecord] = []
    other = logging.Handler()
    other.emit = records.append  # type: ignore[method-assign]
    request = ("POST", "/v1/%s\u202e", 200, 1.25, "id", {"contract_id": "C1", "caller": "x%d"})
    before = (ROOT.level, {name: logging.getLogger(name).handlers.copy() for name in SERVICE_LOGGERS})
    of_pytest, logging.root.handlers = logging.root.handlers, []
    log.attach()
    try:
        log.write(*request)
        alone = capsys.readouterr().err
        logging.getLogger("aorch.requests").addHandler(other)
        log.write(*request)
        together = capsys.readouterr().err
    finally:
        logging.root.handlers = of_pytest
        logging.getLogger("aorch.requests").removeHandler(other)
        ROOT.setLevel(before[0])
        for name, handlers in before[1].items():
            logging.getLogger(name).handlers = handlers
    (record,) = records
    text = "POST /v1/%s\u202e 200 1.2 ms request_id=id contract_id=C1 caller=x%d"
    assert (record.name, record.levelname, record.getMessage()) == ("aorch.requests", "INFO", text)
    if as_json:
        first, second = json.loads(alone), json.loads(together)
        assert (first | {"time": ""}) == (second | {"time": ""}) == {"time": "", **vars(record)["fields"]}
    else:
        assert alone.partition(" ")[2] == together.partition(" ")[2] == text.replace("\u202e", "\\u202e") + "\n"


@pytest.mark.parametrize("options", [(), ("--log-json",)], ids=["text", "json"])
def test_no_log_of_a_service_has_control_or_bidirectional_characters(home: Home, options: tuple[str, ...]) -> None:
    home.write("raising.py", RAISES)
    home.write("aorch.toml", '[agents.raises]\nclass = "raising:Raises"\n')
    with serving(home, *options) as server:
        url = server.client.base_url
        with closing(socket.create_connection((url.host, url.port), timeout=WAIT_S)) as connection:
            path = "/v1/\u202e\u2066x".encode()
            connection.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: \xc2\x9b\r\n\r\n")
            assert connection.recv(65536)
        task = {"session_id": f"s\n{STEERING}", "capability": "raise", "parameters": {"text": f"a\n{STEERING}\nb"}}
        server.post("/v1/orchestrate", json=task)
        server.post("/v1/tasks", json=task)
        server.post("/v1/tasks", json={**task, "capability": f"echo\n{STEERING}"})
        wait_for(
            lambda: server.log.count("ValueError") >= 2 and " failed " in server.log.replace('"failed"', " failed ")
        )
    lines = server.log.removesuffix("\n").split("\n")
    assert [line for line in lines if not line.isprintable()] == []
    if options:
        assert all(json.loads(line) for line in lines if line.startswith("{"))
