"""Downloads from web servers that close connections, change files and answer errors."""

from __future__ import annotations

import hashlib
import random
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.publisher import Publisher, publishing
from yolo_service.errors import PullError
from yolo_service.models.download import MAX_BYTES, Wanted, download

DATA = random.Random(1).randbytes(100_000)
HASH = hashlib.sha256(DATA).hexdigest()
SIZES = frozenset({len(DATA)})
AT_ONCE = (0.0, 0.0, 0.0)


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with publishing({"file": DATA}) as running:
        yield running


def wanted(*urls: str, sizes: frozenset[int] = SIZES, sha256: str | None = HASH) -> Wanted:
    return Wanted("file", urls, sizes, sha256)


def bring(target: Path, what: Wanted) -> None:
    download(what, target, pauses=AT_ONCE)


def refused(target: Path, what: Wanted) -> str:
    """Return the message of a download that fails and leaves nothing behind."""
    with pytest.raises(PullError) as raised:
        bring(target, what)
    assert list(target.parent.iterdir()) == []
    return str(raised.value)


def test_a_file_arrives_under_its_name_and_nothing_else_stays(
    publisher: Publisher, tmp_path: Path
) -> None:
    bring(tmp_path / "file", wanted(f"{publisher.url}/file"))
    assert (tmp_path / "file").read_bytes() == DATA
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_requests_have_a_user_agent_and_refuse_compression(
    publisher: Publisher, tmp_path: Path
) -> None:
    bring(tmp_path / "file", wanted(f"{publisher.url}/file"))
    headers = publisher.asked[0][1]
    assert headers["user-agent"].startswith("yolo-service")
    assert headers["accept-encoding"] == "identity"


def test_a_broken_connection_is_resumed_where_it_broke(
    publisher: Publisher, tmp_path: Path
) -> None:
    publisher.cut = [30_000, 20_000]
    bring(tmp_path / "file", wanted(f"{publisher.url}/file"))
    assert (tmp_path / "file").read_bytes() == DATA
    assert publisher.ranges() == [None, "bytes=30000-", "bytes=50000-"]


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 60_000), max_size=3), tags=st.booleans())
def test_the_bytes_are_right_wherever_connections_break(cuts: list[int], tags: bool) -> None:
    with publishing({"file": DATA}) as publisher, tempfile.TemporaryDirectory() as folder:
        publisher.cut, publisher.tags = list(cuts), tags
        bring(Path(folder) / "file", wanted(f"{publisher.url}/file", sha256=None))
        assert (Path(folder) / "file").read_bytes() == DATA


def test_a_later_download_resumes_from_the_part(publisher: Publisher, tmp_path: Path) -> None:
    publisher.cut = [10_000, 0, 0, 0]
    with pytest.raises(PullError, match=r"the connection ended .* gave up after 4 tries"):
        bring(tmp_path / "file", wanted(f"{publisher.url}/file"))
    publisher.asked.clear()
    bring(tmp_path / "file", wanted(f"{publisher.url}/file"))
    assert (tmp_path / "file").read_bytes() == DATA
    assert publisher.ranges() == ["bytes=10000-"]


def test_a_part_of_a_file_that_has_changed_since_is_not_used(
    publisher: Publisher, tmp_path: Path
) -> None:
    publisher.cut = [10_000, 0, 0, 0]
    with pytest.raises(PullError):
        bring(tmp_path / "file", wanted(f"{publisher.url}/file"))
    changed = DATA[::-1]
    publisher.files["/file"] = changed
    bring(tmp_path / "file", wanted(f"{publisher.url}/file", sha256=None))
    assert (tmp_path / "file").read_bytes() == changed


def test_without_an_entity_tag_nothing_stays_of_a_broken_download(
    publisher: Publisher, tmp_path: Path
) -> None:
    publisher.tags, publisher.cut = False, [10_000] * 4
    assert "10000 of 100000 bytes" in refused(tmp_path / "file", wanted(f"{publisher.url}/file"))
    assert publisher.ranges() == [None] * 4


def test_a_server_without_ranges_sends_everything_again(
    publisher: Publisher, tmp_path: Path
) -> None:
    publisher.ignores_ranges, publisher.cut = True, [10_000]
    bring(tmp_path / "file", wanted(f"{publisher.url}/file"))
    assert (tmp_path / "file").read_bytes() == DATA


def test_a_part_longer_than_the_file_is_removed(publisher: Publisher, tmp_path: Path) -> None:
    tag = hashlib.md5(DATA).hexdigest()
    (tmp_path / "file.part").write_bytes(DATA + b"more")
    (tmp_path / "file.part.etag").write_text(f'"{tag}"')
    bring(tmp_path / "file", wanted(f"{publisher.url}/file"))
    assert (tmp_path / "file").read_bytes() == DATA


def test_a_complete_part_is_only_renamed(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(DATA)
    (tmp_path / "file.part.etag").write_text('"any"')
    bring(tmp_path / "file", wanted(f"{publisher.url}/file"))
    assert (tmp_path / "file").read_bytes() == DATA
    assert publisher.asked == []


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(publisher: Publisher, tmp_path: Path, status: int) -> None:
    publisher.statuses = [status, status]
    bring(tmp_path / "file", wanted(f"{publisher.url}/file"))
    assert len(publisher.asked) == 3


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_not_asked_again(publisher: Publisher, tmp_path: Path, status: int) -> None:
    publisher.statuses = [status]
    assert f"answered {status}" in refused(tmp_path / "file", wanted(f"{publisher.url}/file"))
    assert len(publisher.asked) == 1


def test_the_next_address_is_tried_and_the_message_has_every_failure(
    publisher: Publisher, tmp_path: Path
) -> None:
    missing, there = f"{publisher.url}/missing", f"{publisher.url}/file"
    bring(tmp_path / "file", wanted(missing, there))
    (tmp_path / "file").unlink()
    message = refused(tmp_path / "file", wanted(missing, str(tmp_path / "none")))
    assert f"{missing}: answered 404" in message
    assert f"{tmp_path}/none: no such file" in message


def test_a_refused_connection_is_an_error_after_all_tries(tmp_path: Path) -> None:
    with publishing() as gone:
        url = f"{gone.url}/file"
    assert "refused; gave up after 4 tries" in refused(tmp_path / "file", wanted(url))


def test_other_bytes_of_the_right_length_are_refused(publisher: Publisher, tmp_path: Path) -> None:
    publisher.files["/file"] = DATA[::-1]
    assert f"expected {HASH}" in refused(tmp_path / "file", wanted(f"{publisher.url}/file"))


@pytest.mark.parametrize("length", [0, 99_999, 100_001])
def test_a_wrong_length_is_refused_before_it_is_downloaded(
    publisher: Publisher, tmp_path: Path, length: int
) -> None:
    publisher.files["/file"] = bytes(length or 1)
    message = refused(tmp_path / "file", wanted(f"{publisher.url}/file"))
    assert f"offers {length or 1} bytes, expected 100000 bytes" in message


@pytest.mark.parametrize("length", [50_000, 5_000_000])
def test_a_wrong_length_without_content_length_is_refused(
    publisher: Publisher, tmp_path: Path, length: int
) -> None:
    publisher.lengths, publisher.files["/file"] = False, bytes(length)
    assert "expected 100000 bytes" in refused(tmp_path / "file", wanted(f"{publisher.url}/file"))


def test_a_file_of_unknown_length_has_a_limit(publisher: Publisher, tmp_path: Path) -> None:
    publisher.lengths, publisher.files["/file"] = False, bytes(MAX_BYTES + 1)
    unknown = wanted(f"{publisher.url}/file", sizes=frozenset(), sha256=None)
    assert f"at most {MAX_BYTES} bytes" in refused(tmp_path / "file", unknown)


def test_the_progress_bar_gets_the_bytes_so_far(publisher: Publisher, tmp_path: Path) -> None:
    shown: list[int] = []

    def bar(label: str, total: int | None) -> AbstractContextManager[Callable[[int], None]]:
        assert (label, total) == ("file", len(DATA))
        return nullcontext(shown.append)

    publisher.cut = [30_000]
    download(wanted(f"{publisher.url}/file"), tmp_path / "file", bar=bar, pauses=AT_ONCE)
    assert shown[0] == 0
    assert shown[-1] == len(DATA)
    assert 30_000 in shown


def test_a_path_is_copied_and_checked_like_a_url(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target" / "file"
    source.write_bytes(DATA)
    target.parent.mkdir()
    bring(target, wanted(str(source)))
    assert target.read_bytes() == DATA
    target.unlink()
    assert "sha256" in refused(target, wanted(str(source), sha256="0" * 64))
    source.write_bytes(DATA[1:])
    assert "99999 bytes" in refused(target, wanted(str(source)))


def test_a_redirect_from_https_to_http_is_refused(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    make = (
        "openssl req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj /CN=a"
    )
    names = "-addext subjectAltName=IP:127.0.0.1"
    files = f"-keyout {key} -out {certificate}"
    subprocess.run(f"{make} {names} {files}".split(), check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    target = tmp_path / "target" / "file"
    target.parent.mkdir()
    with publishing({"file": DATA}, tls=context) as safe:
        bring(target, wanted(f"{safe.url}/file"))
        target.unlink()
        safe.redirect = f"{publisher.url}/file"
        assert "not encrypted" in refused(target, wanted(f"{safe.url}/file"))
