"""TRACE_URL and the table `[trace]` configure Trace."""

import pytest
from homes import Home
from trace_checks import assert_each_delivered_once, push, status
from trace_double import Double


@pytest.mark.parametrize("where", ["TRACE_URL", "aorch.toml"])
def test_off_switches_delivery_off(home: Home, where: str) -> None:
    if where == "TRACE_URL":
        home.environment["TRACE_URL"] = "off"
    else:
        home.write("aorch.toml", '[trace]\nurl = "off"\n')
    assert home.aorch("run", "echo", "text=hi").code == 0
    assert (push(home, 2).err).startswith("error: Trace is switched off")
    assert status(home)["url"] is None
    assert home.aorch("status", "--json").json["integrations"]["details"]["trace"]["url"] is None
    shown = home.aorch("status").out
    assert "trace      off" in shown
    assert "exchanges  1 in 1 session: 1 completed" in shown


def test_the_environment_overrides_the_url_in_the_file(traced: Home, double: Double) -> None:
    del traced.environment["TRACE_URL"]
    traced.write("aorch.toml", f'[trace]\nurl = "{double.url}/"\n')
    assert traced.aorch("run", "echo", "text=hi").code == 0
    assert_each_delivered_once(traced, double)
    traced.environment["TRACE_URL"] = "http://127.0.0.1:9"
    assert status(traced)["url"] == "http://127.0.0.1:9"


@pytest.mark.parametrize("url", ["localhost:8787", "ftp://localhost", "http://ann:secret@localhost", "http://a b"])
def test_an_invalid_url_is_rejected_without_repeating_it(home: Home, url: str) -> None:
    home.environment["TRACE_URL"] = url
    done = home.aorch("status")
    assert done.code == 2
    assert "TRACE_URL is not a valid service URL" in done.err
    assert "secret" not in done.err
