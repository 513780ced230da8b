"""What the owner of a ledger does with it: its status and its tokens."""
