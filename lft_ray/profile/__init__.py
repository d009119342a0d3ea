"""The profile stage: serving cost of every candidate, measured in a Ray Serve replica before any training."""
