"""Darknet models without Darknet."""
