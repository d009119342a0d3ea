"""The ``lft`` command line: short typer functions that call the pipeline."""
