"""The export stage: an immutable, verified bundle with its parity check and model card; cascades; batch prediction."""
