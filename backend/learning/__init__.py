"""What accepted labels teach: the ledger, the head, its versions."""
