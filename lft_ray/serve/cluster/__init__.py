"""Ray Serve: deployment, startup, environment variables, HAProxy, replica placement."""
