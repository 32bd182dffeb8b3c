"""Objects of a store, read with boto3 from moto's server."""

from __future__ import annotations

import pytest

from tests.support.stores import BUCKET, Store
from yolo_service import s3
from yolo_service.errors import StoreError

DATA = bytes(range(256)) * 4000


def read(address: str, start: int = 0, tag: str = "") -> bytes:
    with s3.open_object(s3.parse(address), start, tag) as found:
        return b"".join(found.chunks)


def refused(address: str) -> StoreError:
    """Return the error of an object that cannot be read: one line."""
    with pytest.raises(StoreError) as raised:
        read(address)
    assert "\n" not in str(raised.value)
    assert not raised.value.may_pass
    return raised.value


def test_an_object_is_read_from_any_position(store: Store) -> None:
    address = store.put("a/b c.bin", DATA)
    assert read(address) == DATA
    with s3.open_object(s3.parse(address)) as found:
        tag = found.tag
        assert (found.start, found.total) == (0, len(DATA))
    with s3.open_object(s3.parse(address), 1000, tag) as rest:
        assert (rest.start, rest.total) == (1000, len(DATA))
        assert b"".join(rest.chunks) == DATA[1000:]


def test_an_object_that_has_changed_since_is_told_from_others(store: Store) -> None:
    address = store.put("a", DATA)
    with s3.open_object(s3.parse(address)) as found:
        tag = found.tag
    store.put("a", DATA[::-1])
    with pytest.raises(StoreError) as raised:
        read(address, 1000, tag)
    assert raised.value.is_changed


def test_what_is_not_there_is_said_in_one_line(store: Store) -> None:
    assert "s3://models/gone: there is no such object" in str(refused("s3://models/gone"))
    assert "there is no such bucket" in str(refused("s3://elsewhere/a"))


def test_missing_credentials_say_which_variables_to_set(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = store.put("a", DATA)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    s3.forget_client()
    assert "no credentials; set AWS_ACCESS_KEY_ID" in str(refused(address))


def test_a_store_that_does_not_answer_may_answer_later(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = store.put("a", DATA)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match="no answer") as raised:
        read(address)
    assert raised.value.may_pass


@pytest.mark.parametrize("address", ["s3://", "s3://Bucket/a", "s3://models", "https://a/b"])
def test_addresses_that_are_none_are_an_error(address: str) -> None:
    with pytest.raises(StoreError, match="expected s3://BUCKET/KEY"):
        s3.parse(address)


def test_a_place_has_a_bucket_and_a_key() -> None:
    assert s3.parse(f"s3://{BUCKET}/a/b.txt") == (BUCKET, "a/b.txt")
    assert str(s3.parse("s3://bucket/")) == "s3://bucket/"
