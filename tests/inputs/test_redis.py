"""Redis as source and sink, with a real server: answers, addresses and errors."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.input_suite import png
from tests.support.predictors import MakePredictor
from tests.support.redis_runs import (
    SECONDS,
    running,
    sha256,
)
from tests.support.redis_server import MakeRedis, RedisServer
from yolo_service.errors import ConfigurationError, InputError, OutputError
from yolo_service.inputs.opening import open_input
from yolo_service.inputs.options import InputOptions
from yolo_service.outputs.opening import open_output
from yolo_service.outputs.options import OutputOptions
from yolo_service.pipeline import Pipeline
from yolo_service.predictor import Options, Predictor


@pytest.fixture
def predictor(make_predictor: MakePredictor) -> Predictor:
    return make_predictor(workers=2, queue_seconds=float("inf"))


def test_an_answer_is_opex_with_name_sha256_and_model(
    redis_server: RedisServer, predictor: Predictor
) -> None:
    client = redis_server.client()
    with running(redis_server, predictor, "stream=in", "list=out"):
        number = client.xadd("in", {"name": "cam 1/a.png", "image": png()}).decode()
        _, message = client.blpop("out", timeout=SECONDS)
    answer = json.loads(message)
    name = f"in/{number}/cam 1/a.png"
    assert answer["meta"] == {
        "entry": number,
        "given_name": "cam 1/a.png",
        "name": name,
        "sha256": sha256(png()),
        "model": "a",
    }
    assert answer["id"] == name
    assert [each["label"] for each in answer["objects"]] == ["dog"]
    assert all(isinstance(value, str) for value in answer["meta"].values())


@pytest.mark.parametrize("kind", ["channel", "list", "stream"])
def test_an_image_that_fails_is_answered_without_objects_and_with_its_error(
    redis_server: RedisServer, predictor: Predictor, kind: str
) -> None:
    client = redis_server.client()
    with running(redis_server, predictor, f"{kind}=in", "list=out"):
        for data in (b"no image", png()):
            if kind == "channel":
                client.publish("in", data)
            elif kind == "list":
                client.rpush("in", data)
            else:
                client.xadd("in", {"image": data})
        first, second = (json.loads(client.blpop("out", timeout=SECONDS)[1]) for _ in range(2))
    assert first["objects"] == []
    assert "no image of a known format" in first["meta"]["error"]
    assert first["meta"]["sha256"] == sha256(b"no image")
    assert len(second["objects"]) == 1
    if kind == "list":
        assert client.lrange("in:failed", 0, -1) == [b"no image"]
    if kind == "stream":
        assert client.xlen("in") == 2
        assert client.xpending("in", "yolo-service")["pending"] == 0


def test_an_entry_without_an_image_is_answered_with_what_it_has(
    redis_server: RedisServer, predictor: Predictor
) -> None:
    client = redis_server.client()
    with running(redis_server, predictor, "stream=in", "stream=out"):
        client.xadd("in", {"picture": png()})
        ((_, ((_, fields),)),) = client.xread({"out": "0"}, block=SECONDS * 1000)
    assert "no field image, but picture" in json.loads(fields[b"result"])["meta"]["error"]


def test_a_password_comes_from_a_variable(
    make_redis: MakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_redis("--requirepass", "secret word")
    address = f"{server.address}?list=in"
    with pytest.raises(InputError, match=r"127.0.0.1:.* refuses access: .*set REDIS_PASSWORD"):
        open_input([address], InputOptions())
    monkeypatch.setenv("REDIS_PASSWORD", "wrong word")
    with pytest.raises(OutputError, match="refuses access") as caught:
        open_output(address, OutputOptions())
    assert "wrong word" not in str(caught.value)
    monkeypatch.setenv("REDIS_PASSWORD", "secret word")
    open_input([address], InputOptions()).close()
    monkeypatch.setenv("OTHER", "secret word")
    monkeypatch.delenv("REDIS_PASSWORD")
    open_output(f"{address}&password_env=OTHER", OutputOptions()).close()


def test_an_encrypted_connection_checks_the_certificate(
    make_redis: MakeRedis, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *names, *files], check=True, capture_output=True)
    server = make_redis(
        *("--tls-cert-file", str(certificate), "--tls-key-file", str(key)),
        *("--tls-auth-clients", "no"),
    )
    server.address = f"rediss://localhost:{server.port}/0"
    with pytest.raises(InputError, match=r"does not answer: .*certificate"):
        open_input([f"{server.address}?list=in"], InputOptions())
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    client = server.client(host="localhost", ssl=True, ssl_ca_certs=str(certificate))
    with running(server, predictor, "list=in", "list=out"):
        client.rpush("in", png())
        assert client.blpop("out", timeout=SECONDS)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "exactly one of"),
        ("?channel=a&list=b", "exactly one of"),
        ("?channel=a&group=g", "a channel has no parameter group here; known are buffer_mb"),
        ("?stream=a&claim=never", "claim has to be a number above 0"),
        ("?stream=a&password_env=NO_SUCH_THING", "variable NO_SUCH_THING is not set"),
    ],
)
def test_a_wrong_address_is_one_clear_line(
    redis_server: RedisServer, query: str, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message.replace("?", r"\?")) as caught:
        open_input([f"redis://user:secret@127.0.0.1:{redis_server.port}{query}"], InputOptions())
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there_is_one_clear_line() -> None:
    with pytest.raises(InputError, match=r"1:1/0\?list=in does not answer: Connection refused"):
        open_input(["redis://127.0.0.1:1/0?list=in"], InputOptions())


@pytest.mark.parametrize("options", [OutputOptions(format="voc"), OutputOptions(resume=True)])
def test_a_sink_that_cannot_do_what_is_asked_says_so(
    redis_server: RedisServer, options: OutputOptions
) -> None:
    with pytest.raises(ConfigurationError, match=r"expected one of|nobody can tell"):
        open_output(f"{redis_server.address}?list=out", options)


def test_other_formats_have_the_same_facts_beside_them(
    redis_server: RedisServer, predictor: Predictor
) -> None:
    client = redis_server.client()
    source = open_input([f"{redis_server.address}?list=in"], InputOptions())
    output = open_output(f"{redis_server.address}?list=out", OutputOptions(format="darknet"))
    client.rpush("in", png())
    Pipeline(source, predictor, output, Options(threshold=0.5), limit=1).run()
    source.close()
    answer = json.loads(client.lpop("out"))
    assert answer["meta"]["sha256"] == sha256(png())
    assert len(answer["detections"]) == 1


def test_what_fails_is_put_aside_with_its_error(
    redis_server: RedisServer, predictor: Predictor, tmp_path: Path
) -> None:
    client = redis_server.client()
    options = InputOptions(failed_to=tmp_path / "failed")
    source = open_input([f"{redis_server.address}?stream=in"], options)
    output = open_output(f"{redis_server.address}?list=out", OutputOptions())
    client.xadd("in", {"image": b"no image", "name": "a.jpg"})
    Pipeline(source, predictor, output, Options(), limit=1).run()
    source.close()
    image, error = sorted((tmp_path / "failed").rglob("a.jpg*"))
    assert image.read_bytes() == b"no image"
    assert "no image of a known format" in error.read_text()
