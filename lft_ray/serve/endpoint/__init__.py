"""The life of an endpoint: deploy, promote, roll back, stop; its supervisor process."""
