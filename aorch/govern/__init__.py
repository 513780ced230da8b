"""What the owner of a ledger does with it: see its status, and manage its tokens."""
