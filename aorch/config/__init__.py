"""`aorch.toml` and the environment, as one frozen Config."""
