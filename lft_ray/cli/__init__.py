"""The lft command: typer functions of a few lines that call the pipeline."""
