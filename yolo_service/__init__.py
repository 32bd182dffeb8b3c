"""The application: detection over HTTP and on the command line."""
