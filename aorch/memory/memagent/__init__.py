"""The memagent compressor: MemAgent keeps our block and adds its own."""
