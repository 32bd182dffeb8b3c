"""The engines: one module per runtime, which is imported when the engine is loaded."""
