"""The detections in one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Detections:
    """Boxes, confidences and classes; row i of each array is detection i.

    The order is Darknet's: by output layer, then cell, then anchor, then class. A box has one row
    per class above the threshold. As in Darknet, boxes are not clipped to the image.

    Attributes:
        boxes: float32[n, 4], centre x, centre y, width, height in pixels of the original image.
        scores: float32[n], confidence, 0..1.
        class_ids: int32[n], index into ``names``.
        names: class names of the model.
    """

    boxes: FloatArray
    scores: FloatArray
    class_ids: IntArray
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        n = len(self.scores)
        if self.boxes.shape != (n, 4) or self.class_ids.shape != (n,):
            raise ValueError(
                f"expected boxes ({n}, 4) and class_ids ({n},) for {n} scores, "
                f"found {self.boxes.shape} and {self.class_ids.shape}"
            )

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def labels(self) -> list[str]:
        """The name of each detection's class."""
        return [self.names[i] for i in self.class_ids]

    @property
    def corners(self) -> FloatArray:
        """float32[n, 4]: left, top, right, bottom in pixels of the original image."""
        centre, half = self.boxes[:, :2], self.boxes[:, 2:] / 2
        return np.concatenate((centre - half, centre + half), axis=1)

    def scaled(self, x: float, y: float) -> Detections:
        """Return the detections for an image that is x times as wide and y times as high."""
        boxes = self.boxes * np.array((x, y, x, y), np.float32)
        return Detections(boxes, self.scores, self.class_ids, self.names)

    def where(self, chosen: npt.NDArray[np.bool_]) -> Detections:
        """Return the detections for which bool[n] is true, in their order."""
        boxes, scores = self.boxes[chosen], self.scores[chosen]
        return Detections(boxes, scores, self.class_ids[chosen], self.names)

    def by_score(self) -> Detections:
        """Return the detections by falling score; equal scores keep their order."""
        order = np.argsort(-self.scores, kind="stable")
        return Detections(self.boxes[order], self.scores[order], self.class_ids[order], self.names)
