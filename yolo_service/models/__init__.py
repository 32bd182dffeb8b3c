"""The models folder, the catalog, and models in memory."""
