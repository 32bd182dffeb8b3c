"""The NVIDIA GPU of this machine, as its driver describes it; needs nothing but Python.

Usage: python -m benchmarks.gpu.card

Prints the GPU, or what is missing with exit code 1.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

_FIELDS = ("name", "memory.total", "driver_version", "clocks.max.sm", "power.limit")
_COMMAND = ("nvidia-smi", f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits")
_ADVICE = (
    "run it on a machine with an NVIDIA GPU and its driver (in a container: --gpus all); "
    "without one, 'python -m benchmarks.gpu --provider cpu --docs build/gpu' runs the same code "
    "with ONNX Runtime's CPU provider in the GPU's place"
)


class NoCardError(Exception):
    """There is no GPU; the message says what is missing and what to do."""


@dataclass(frozen=True)
class Card:
    """A GPU.

    Attributes:
        name: of the product.
        memory: in MB, as the driver reports it.
        driver: version.
        clock: highest clock of the multiprocessors in MHz.
        power: limit in watts.
    """

    name: str
    memory: str
    driver: str
    clock: str
    power: str

    def __str__(self) -> str:
        return (
            f"{self.name}, {self.memory} MB, {self.clock} MHz, {self.power} W, driver {self.driver}"
        )


def find_card() -> Card:
    """Return the first GPU.

    Raises:
        NoCardError: there is none, or no driver.
    """
    try:
        run = subprocess.run(_COMMAND, capture_output=True, text=True, check=True, timeout=60)
    except FileNotFoundError:
        raise NoCardError(f"no NVIDIA GPU: nvidia-smi is not installed; {_ADVICE}") from None
    except subprocess.SubprocessError as error:
        told = (getattr(error, "stdout", "") or str(error)).strip()
        raise NoCardError(f"no NVIDIA GPU: nvidia-smi failed: {told}; {_ADVICE}") from None
    lines = run.stdout.strip().splitlines()
    if not lines:
        raise NoCardError(f"no NVIDIA GPU: nvidia-smi lists none; {_ADVICE}")
    return Card(*(field.strip() for field in lines[0].split(",")))


def main() -> int:
    """Print the GPU, or what is missing; returns the exit code."""
    try:
        print(find_card())
    except NoCardError as error:
        print(f"bench-gpu: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
