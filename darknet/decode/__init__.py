"""Decoding of a network's raw output to boxes."""

from darknet.decode.candidates import MAX_CANDIDATES, above
from darknet.decode.decoder import Decoder, diou_beta, suppress_in_image

__all__ = ["MAX_CANDIDATES", "Decoder", "above", "diou_beta", "suppress_in_image"]
