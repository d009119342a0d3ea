"""How a running model is replaced: desired state, gate, canary, traffic split."""
