"""Administration of a ledger: its status and its tokens."""
