"""Memory blocks: short summaries of sessions, in which every claim cites the contracts that it comes from.

    compressor.py       compress sessions and store the blocks in the ledger
    memory_queries.py   read, search, export and verify the stored blocks
    block.py            what a block consists of, and its JSON form
    prompt.py           blocks as text for a model, within a token limit (budget.py chooses the claims)
    verify.py           compare a block with the contracts that it covers
    local/              the local compressor: selects and quotes (findings, then candidate claims, then a block)
    llm/                the llm compressor: a model writes claims, which are checked against the contracts
    memagent/           the memagent compressor: also sends the local block to MemAgent

Contracts are dicts in their JSON form. Only compressor.py and memory_queries.py use the ledger.
"""
