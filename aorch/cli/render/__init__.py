"""How output looks on a terminal and in a pipe."""
