"""`aorch` and `python -m aorch`."""

import signal


def main() -> None:
    """The console script."""
    # During start-up, which only imports, Ctrl-C ends the process at once, without a traceback. Commands replace this
    # handler.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from aorch.cli import streams  # noqa: PLC0415  see above
    from aorch.cli.main import app  # noqa: PLC0415  see above

    streams.prepare()
    app(prog_name="aorch")


if __name__ == "__main__":
    main()
