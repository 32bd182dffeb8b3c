"""Clusters of Ray: stored images by Ray Data, requests by Ray Serve."""
