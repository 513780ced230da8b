"""The local compressor: it selects and quotes, without a model."""
