from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path

import pytest

from darknet.limits import available_cpus
from yolo_service import settings as settings_module
from yolo_service.errors import ConfigurationError
from yolo_service.settings import Settings, load_settings, unknown_variables


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PORT", "config_file", "weights_file", "meta_file"):
        monkeypatch.delenv(name, raising=False)


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    settings = load_settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8080)
    assert (settings.engine, settings.precision) == ("auto", "fp32")
    assert settings.max_upload_bytes == 20_000_000
    assert settings.workers == available_cpus() + 1 >= 2
    assert settings.api_key is None


def test_models_are_looked_for_in_the_current_folder_if_it_has_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    assert load_settings().models_dir == Path("models")


def test_models_are_looked_for_in_the_users_data_folder_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert load_settings().models_dir == tmp_path / "data" / "yolo-service" / "models"


def test_a_models_folder_that_is_set_counts_before_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    monkeypatch.setenv("YOLO_MODELS_DIR", "elsewhere")
    assert load_settings().models_dir == Path("elsewhere")


def test_variables_are_read_with_their_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLO_ENGINE", "libdarknet")
    monkeypatch.setenv("YOLO_QUEUE_SIZE", "3")
    monkeypatch.setenv("YOLO_URL_ALLOW_NETWORKS", "10.0.0.0/8, ::1 ,")
    settings = load_settings()
    assert settings.engine == "libdarknet"
    assert settings.queue_size == 3
    assert settings.url_allow_networks == (ip_network("10.0.0.0/8"), ip_network("::1"))


@pytest.mark.parametrize(("text", "size"), [("416", (416, 416)), ("640x480", (640, 480))])
def test_an_input_size_is_a_side_or_both(
    monkeypatch: pytest.MonkeyPatch, text: str, size: tuple[int, int]
) -> None:
    monkeypatch.setenv("YOLO_INPUT_SIZE", text)
    assert load_settings().input_size == size


@pytest.mark.parametrize("text", ["0", "416x", "-32", "large", "99999999"])
def test_an_input_size_that_is_none_is_an_error(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("YOLO_INPUT_SIZE", text)
    with pytest.raises(ConfigurationError, match="YOLO_INPUT_SIZE: "):
        load_settings()


def test_sagemakers_models_come_first_where_there_are_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings_module, "SAGEMAKER", tmp_path / "ml")
    assert load_settings(models_dir=tmp_path / "own").model_roots == (tmp_path / "own",)
    (tmp_path / "ml").mkdir()
    roots = load_settings(models_dir=tmp_path / "own").model_roots
    assert roots == (tmp_path / "ml", tmp_path / "own")


@pytest.mark.parametrize("address", ["s3://models/a.cfg", "https://example.org/a.cfg"])
def test_the_classic_files_may_be_addresses(address: str) -> None:
    settings = load_settings(config_file=address, weights_file="b.weights", meta_file="c.names")
    assert settings.config_file == address
    assert settings.weights_file == Path("b.weights")


def test_plain_port_counts_unless_the_prefixed_one_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9000")
    assert load_settings().port == 9000
    monkeypatch.setenv("YOLO_PORT", "9001")
    assert load_settings().port == 9001


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLO_DEVICE", "")
    monkeypatch.setenv("YOLO_WORKERS", "")
    assert load_settings().device is None


def test_overrides_count_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLO_PORT", "9001")
    assert load_settings(port=1234).port == 1234


def test_each_bad_value_gets_a_line_that_names_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("YOLO_PORT", "http")
    monkeypatch.setenv("YOLO_ENGINE", "torch")
    monkeypatch.setenv("YOLO_QUEUE_SIZE", "0")
    monkeypatch.setenv("YOLO_URL_ALLOW_NETWORKS", "10.0.0.1/8")
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    lines = sorted(str(caught.value).splitlines())
    names = ["YOLO_ENGINE", "YOLO_PORT", "YOLO_QUEUE_SIZE", "YOLO_URL_ALLOW_NETWORKS"]
    assert [line.partition(":")[0] for line in lines] == names
    assert "'http'" in lines[1]
    assert "10.0.0.0/8" in lines[3]


def test_origins_are_a_list_in_lower_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLO_CORS_ORIGINS", "https://Example.org, http://10.0.0.5:8123 ,")
    assert load_settings().cors_origins == ("https://example.org", "http://10.0.0.5:8123")
    monkeypatch.setenv("YOLO_CORS_ORIGINS", "*")
    assert load_settings().cors_origins == ("*",)


@pytest.mark.parametrize("origin", ["a.org", "https://a/", "https://a/b", "https://*", "null"])
def test_what_no_browser_sends_as_origin_is_refused(
    monkeypatch: pytest.MonkeyPatch, origin: str
) -> None:
    monkeypatch.setenv("YOLO_CORS_ORIGINS", f"https://b,{origin}")
    with pytest.raises(ConfigurationError, match=f"YOLO_CORS_ORIGINS: .{re.escape(origin)}. is no"):
        load_settings()


@pytest.mark.parametrize("key", ["clé", " key", "key\n", "a\tb"])
@pytest.mark.parametrize("name", ["YOLO_API_KEY", "ML_API_TOKEN"])
def test_a_key_that_no_header_can_carry_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, key: str
) -> None:
    monkeypatch.setenv(name, key)
    with pytest.raises(ConfigurationError, match=f"{name}: expected printable ASCII") as caught:
        load_settings()
    assert key.strip() not in str(caught.value)


def test_a_secret_is_neither_shown_nor_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLO_API_KEY", "sesame")
    assert "sesame" not in repr(load_settings())
    with pytest.raises(ConfigurationError) as caught:
        load_settings(api_key=["sesame"])
    assert "sesame" not in str(caught.value)
    with pytest.raises(ConfigurationError, match=r"ML_API_TOKEN: ") as caught:
        load_settings(ml_api_token=["sesame"])
    assert "sesame" not in str(caught.value)


def test_the_classic_files_belong_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("config_file", "a.cfg")
    with pytest.raises(ConfigurationError, match="missing: weights_file, meta_file"):
        load_settings()
    monkeypatch.setenv("weights_file", "a.weights")
    monkeypatch.setenv("meta_file", "a.data")
    assert load_settings().config_file == Path("a.cfg")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("YOLO_API_KYE", "YOLO_API_KYE is no setting; did you mean YOLO_API_KEY?"),
        ("YOLO_WORKER", "YOLO_WORKER is no setting; did you mean YOLO_WORKERS?"),
        ("YOLO_QUEUESIZE", "YOLO_QUEUESIZE is no setting; did you mean YOLO_QUEUE_SIZE?"),
        ("YOLO_ML_API_TOKEN", "YOLO_ML_API_TOKEN is no setting; did you mean ML_API_TOKEN?"),
        ("YOLO_XYZZY", "YOLO_XYZZY is no setting; the README lists those there are"),
    ],
)
def test_a_variable_that_is_no_setting_is_named_with_the_nearest_one(name: str, words: str) -> None:
    assert unknown_variables({name: "x", "YOLO_MODEL": "a", "PATH": "/bin"}) == [words]


def test_settings_and_variables_of_platforms_are_no_misspelt_settings() -> None:
    known = {f"YOLO_{name.upper()}": "" for name in Settings.model_fields}
    del known["YOLO_ML_API_TOKEN"], known["YOLO_CONFIG_FILE"], known["YOLO_WEIGHTS_FILE"]
    del known["YOLO_META_FILE"]
    platform = {"YOLO_SERVICE_PORT": "tcp://10.0.0.1:80", "YOLO_SERVICE_SERVICE_HOST": "10.0.0.1"}
    assert unknown_variables(known | platform) == []


def test_settings_cannot_be_changed() -> None:
    settings = Settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1
