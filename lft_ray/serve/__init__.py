"""Serving: the predictor, its HTTP and gRPC application, and its deployment on Ray Serve."""
