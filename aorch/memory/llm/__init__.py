"""The llm compressor: a model writes claims, and aorch checks them."""
