"""What a run writes: folder, ledger, storage, driver lock."""
