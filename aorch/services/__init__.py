"""Other systems that an orchestrator may speak with: Trace and MemAgent."""
