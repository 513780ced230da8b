"""The memagent compressor: sends the local block to MemAgent and stores its answer with the block."""
