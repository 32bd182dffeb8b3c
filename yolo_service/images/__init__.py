"""Encoded images to pixels within limits, and detections drawn on them."""
