"""The hardware side of a trial: memory, processes, precision and usage metering."""
