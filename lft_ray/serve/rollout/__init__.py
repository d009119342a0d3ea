"""Replacing the running model: desired state, promotion gate, canary, traffic split."""
