"""The gevent server, routes and validation of swagger.yaml, and downloads of image URLs."""
