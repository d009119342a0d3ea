"""What a trial runs on: memory, processes, precision, usage meters."""
