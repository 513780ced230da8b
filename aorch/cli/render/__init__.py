"""Shows output at a terminal and in a pipe."""
