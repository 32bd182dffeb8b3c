"""The service: everything that knows HTTP, files or the command line."""
