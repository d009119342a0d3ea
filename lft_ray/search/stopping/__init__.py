"""Stop rules: which running trial is stopped early."""
