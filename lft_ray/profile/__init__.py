"""The profile stage: what each candidate costs to serve, measured in a replica before any is trained."""
