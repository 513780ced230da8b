"""Reads `aorch.toml` and the environment into one frozen Config."""
