"""`aorch ui`: the URL of the live page, from the server that runs already, or from one of its own."""

import http.client
import signal
import subprocess
from urllib.parse import urlsplit

from homes import Home
from serving import serving
from waiting import WAIT_S, wait_for


def test_the_page_of_the_server_that_runs_already_is_opened_in_the_browser(home: Home) -> None:
    with serving(home) as server:
        home.environment |= {
            "ORCHESTRATOR_PORT": f"{urlsplit(server.url).port}",
            "BROWSER": f"sh -c 'echo \"$0\" > {home.folder}/opened' %s",
        }
        done = home.aorch("ui")
        assert (done.code, done.out) == (0, f"{server.url}/\n")
        assert (home.folder / "opened").read_text() == f"{server.url}/\n"


def test_a_server_over_another_ledger_is_not_the_one(home: Home) -> None:
    with serving(home, "--ledger", "another.db") as server:
        home.environment["ORCHESTRATOR_PORT"] = f"{urlsplit(server.url).port}"
        process = home.start("ui", "--no-browser")
        assert process.stdout is not None
        url = process.stdout.readline().decode().strip()
        assert url.startswith("http://127.0.0.1:")
        assert url != f"{server.url}/"
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 0
        process.communicate()


def test_where_none_runs_it_serves_the_page_itself_until_ctrl_c(home: Home) -> None:
    home.environment |= {"ORCHESTRATOR_PORT": "1", "BROWSER": f"sh -c 'echo \"$0\" > {home.folder}/opened' %s"}
    process = home.start("ui", stderr=subprocess.PIPE)
    assert process.stdout is not None
    url = process.stdout.readline().decode().strip()
    wait_for(lambda: (home.folder / "opened").exists() and (home.folder / "opened").read_text() == f"{url}\n")
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(url).port or 0, timeout=WAIT_S)
    connection.request("GET", "/")
    response = connection.getresponse()
    assert (response.status, b"<title>aorch</title>" in response.read()) == (200, True)
    connection.close()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=WAIT_S)
    assert (process.returncode, said) == (0, b"")


def test_it_says_that_the_page_asks_for_a_token_if_one_exists(home: Home) -> None:
    home.aorch("tokens", "create", "ci")
    home.environment["ORCHESTRATOR_PORT"] = "1"
    process = home.start("ui", "--no-browser", stderr=subprocess.PIPE)
    assert process.stdout is not None
    url = process.stdout.readline().decode().strip()
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(url).port or 0, timeout=WAIT_S)
    connection.request("GET", "/v1/status")
    assert connection.getresponse().status == 401
    connection.close()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=WAIT_S)
    assert b"The page asks for a token. `aorch tokens create NAME` creates one.\n" in said
