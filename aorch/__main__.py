"""`aorch` and `python -m aorch`."""

import signal


def main() -> None:
    """The console script."""
    # Ctrl-C ends it at once, without a trace, until a command says otherwise: start-up is nothing but imports.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from aorch.cli import app  # noqa: PLC0415  see above

    app(prog_name="aorch")


if __name__ == "__main__":
    main()
