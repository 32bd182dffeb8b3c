"""The memory budget of requests; test_hardening_clients.py tests the rest of streams.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_service.errors import Overloaded
from yolo_service.http.streams import Budget


def test_no_more_than_the_budget_can_be_taken() -> None:
    budget = Budget(10_000_000)
    budget.take(9_999_999)
    budget.take(1)
    with pytest.raises(Overloaded, match="10 MB of images") as caught:
        budget.take(1)
    assert caught.value.retry_after == 1
    budget.give_back(1)
    budget.take(1)


@given(st.lists(st.integers(0, 100)))
def test_memory_given_back_can_be_taken_again(counts: list[int]) -> None:
    budget = Budget(1000)
    taken: list[int] = []
    for count in counts:
        if sum(taken) + count <= 1000:
            budget.take(count)
            taken.append(count)
        else:
            with pytest.raises(Overloaded):
                budget.take(count)
    for count in taken:
        budget.give_back(count)
    budget.take(1000)
