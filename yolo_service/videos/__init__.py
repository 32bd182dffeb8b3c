"""Videos: their frames by time, reports about them, and drawn copies; all use of PyAV is here."""
