"""`python -m aorch`."""

from aorch.cli import main

main()
