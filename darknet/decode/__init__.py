"""From the raw numbers of a network's heads to boxes."""

from darknet.decode.decoder import MAX_CANDIDATES, Decoder, diou_beta

__all__ = ["MAX_CANDIDATES", "Decoder", "diou_beta"]
