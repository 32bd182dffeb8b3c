"""A Darknet .cfg as frozen layers with shapes."""

from darknet.cfg.input_size import InputSize
from darknet.cfg.reader import Cfg, parse_cfg, read_cfg

__all__ = ["Cfg", "InputSize", "parse_cfg", "read_cfg"]
