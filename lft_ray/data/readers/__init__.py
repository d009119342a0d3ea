"""Readers of CSV, TSV, JSONL, Parquet and hub data sets: files in, `Table`s out."""
