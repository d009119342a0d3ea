"""The run folder and its parts: records, ledger, storage and driver lock."""
