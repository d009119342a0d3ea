"""Readers for CSV, TSV, JSON, Parquet and hub data sets: files in, a `RawTable` out."""
