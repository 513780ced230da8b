"""`aorch mcp` at a terminal, where no MCP host talks to it."""

import os
import pty

from homes import Home


def test_aorch_mcp_at_a_terminal_says_what_it_waits_for(home: Home) -> None:
    ours, theirs = pty.openpty()
    process = home.start("mcp", stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    while b"to one." not in said:
        said += os.read(ours, 4096)
    process.kill()
    process.wait(timeout=5)
    os.close(ours)
    shown = b" ".join(said.split())
    assert b"waits for an MCP host on standard input; Ctrl-C ends it." in shown
    assert b"`aorch help --docs mcp` shows how" in shown
