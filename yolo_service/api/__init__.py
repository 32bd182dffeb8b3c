"""The handlers that swagger.yaml's operationIds name, one module per family of routes."""
