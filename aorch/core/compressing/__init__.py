"""Memory blocks that another service takes part in: a model (`llm`), MemAgent (`memagent`)."""
