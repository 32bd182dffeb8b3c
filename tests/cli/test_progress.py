"""What is shown while ``detect`` runs."""

from __future__ import annotations

import logging

import pytest

from yolo_service.cli.progress import ProgressLine, summary
from yolo_service.results import Progress


def test_the_line_has_share_numbers_rate_and_the_time_that_is_left() -> None:
    line = ProgressLine(1000, is_drawn=True)
    text = line.text(Progress(done=248, failed=2), 10.0)
    assert text == "[#####---------------] 25%, 250 of 1000, 2 failed, 25.0 images/s, 0:30 left"


def test_without_a_known_end_there_is_no_time_left() -> None:
    line = ProgressLine(None, is_drawn=False)
    assert line.text(Progress(done=7200), 3600.0) == "7200 images, 2.0 images/s"


def test_a_log_gets_a_line_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 100.0
    monkeypatch.setattr("yolo_service.cli.progress.time.monotonic", lambda: now)
    caplog.set_level(logging.INFO)
    line = ProgressLine(None, is_drawn=False)
    for second in range(185):
        now = 100.0 + second
        line.show(Progress(done=second))
    assert [record.message for record in caplog.records] == [
        "60 images, 1.0 images/s",
        "120 images, 1.0 images/s",
        "180 images, 1.0 images/s",
    ]


def test_the_summary_counts() -> None:
    assert summary(Progress(done=1)) == "1 image: 1 done, 0 failed"
    assert summary(Progress(1, 2, 3)) == "6 images: 1 done, 2 failed, 3 skipped"
