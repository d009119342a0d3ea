"""The endpoint: a plain predictor, its HTTP app, and the one place that knows Ray Serve."""
