"""Decoding of a network's raw output to boxes."""

from darknet.decode.candidates import MAX_CANDIDATES
from darknet.decode.decoder import Decoder, diou_beta

__all__ = ["MAX_CANDIDATES", "Decoder", "diou_beta"]
