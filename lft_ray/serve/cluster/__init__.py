"""Ray Serve: deployment, start, environment, HAProxy, placement."""
