"""``python -m darknet FILE.cfg [FILE.weights]``: print the layers and check the weights."""

from __future__ import annotations

import sys

from darknet.cfg import read_cfg
from darknet.errors import DarknetError
from darknet.layer_table import layer_table
from darknet.weights import read_weights


def main(arguments: list[str]) -> int:
    """Print the layer table; return the exit status: 0, 1 for a wrong file, 2 for wrong usage."""
    if not 1 <= len(arguments) <= 2 or arguments[0].startswith("-"):
        sys.stderr.write("usage: python -m darknet FILE.cfg [FILE.weights]\n")
        return 2
    try:
        cfg = read_cfg(arguments[0])
        sys.stdout.write("\n".join((*layer_table(cfg), *cfg.warnings)) + "\n")
        for path in arguments[1:]:
            header = read_weights(path, cfg).header
            sys.stdout.write(f"{path}: matches the .cfg; trained on {header.seen} images\n")
    except DarknetError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
