"""The handlers of swagger.yaml's operations, one module per family of routes."""
