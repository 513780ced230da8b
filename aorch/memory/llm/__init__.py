"""The llm compressor: a model writes claims, each is verified."""
