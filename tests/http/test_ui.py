"""Swagger UI in a real browser, with no network but the service's own address."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support import expected_conditions as conditions
from selenium.webdriver.support.wait import WebDriverWait

from tests.support.browser import SECONDS, chromium
from tests.support.fixtures import Client, ServerProcess, StartServer

MODEL_FIELD = "tr:is([data-param-name=model], [data-property-name=model]) input[type=text]"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


class Page:
    """The Swagger UI of a server."""

    def __init__(
        self, browser: webdriver.Chrome, server: ServerProcess, path: str = "/ui/"
    ) -> None:
        self.browser = browser
        self._wait = WebDriverWait(browser, SECONDS)
        browser.get(f"http://127.0.0.1:{server.port}{path}")
        self.find(".opblock")

    def all(self, selector: str) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def find(self, selector: str) -> WebElement:
        found = conditions.presence_of_element_located((By.CSS_SELECTOR, selector))
        return self._wait.until(found)

    def click(self, selector: str) -> None:
        element = self._wait.until(conditions.element_to_be_clickable((By.CSS_SELECTOR, selector)))
        self.browser.execute_script("arguments[0].click()", element)

    def open(self, method: str, path: str) -> str:
        """Open an operation, which can be tried out then; returns the selector of its block."""
        self.click(f".opblock-{method} [data-path='{path}']")
        block = f".opblock-{method}.is-open"
        self.find(f"{block} .execute")
        return block

    def close(self, method: str, path: str) -> None:
        """Close an operation."""
        self.click(f".opblock-{method} [data-path='{path}']")
        self._wait.until(lambda _: not self.all(".opblock.is-open"))

    def execute(self, block: str) -> tuple[str, str]:
        """Send the request; returns status and body of the answer."""
        self.click(f"{block} .execute")
        answer = f"{block} .live-responses-table tr.response"
        status = self.find(f"{answer} .response-col_status").text
        body = self.find(f"{answer} .response-col_description .microlight").text
        return status.split()[0], body


def test_the_page_shows_every_operation_of_the_contract(
    browser: webdriver.Chrome, server: ServerProcess, client: Client
) -> None:
    page = Page(browser, server)
    for path, methods in client.get("/openapi.json").json["paths"].items():
        for method in methods.keys() & {"get", "post"}:
            assert page.find(f".opblock-{method} [data-path='{path}']")


def test_the_page_has_the_name_of_the_service_and_shows_detection_first(
    browser: webdriver.Chrome, server: ServerProcess
) -> None:
    page = Page(browser, server)
    assert browser.title == "yolo-service"
    first, second = page.all(".opblock-summary")[:2]
    assert first.text.split()[:2] == ["GET", "/detect"]
    assert second.text.split()[:2] == ["POST", "/detect"]


def test_every_operation_opens_without_a_message_or_a_model_in_its_fields(
    browser: webdriver.Chrome, server: ServerProcess, client: Client
) -> None:
    page = Page(browser, server)
    for path, methods in client.get("/openapi.json").json["paths"].items():
        for method in methods.keys() & {"get", "post"}:
            block = page.open(method, path)
            for field in page.all(f"{block} {MODEL_FIELD}"):
                assert field.get_attribute("value") == ""
            page.close(method, path)
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]  # has no types


def test_an_image_is_uploaded_and_answered_in_the_page(
    browser: webdriver.Chrome, server: ServerProcess, client: Client, photo: bytes, tmp_path: Path
) -> None:
    (tmp_path / "photo.jpg").write_bytes(photo)
    page = Page(browser, server)
    block = page.open("post", "/detect")
    page.find(f"{block} input[type=file]").send_keys(str(tmp_path / "photo.jpg"))
    status, body = page.execute(block)
    assert status == "200"
    assert json.loads(body) == client.post([("image_file", photo)]).json


def test_several_images_are_chosen_at_once(
    browser: webdriver.Chrome, server: ServerProcess, client: Client, photo: bytes, tmp_path: Path
) -> None:
    files = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    for file in files:
        file.write_bytes(photo)
    page = Page(browser, server)
    block = page.open("post", "/detect")
    page.find(f"{block} input[type=file]").send_keys("\n".join(map(str, files)))
    status, body = page.execute(block)
    assert status == "200"
    assert json.loads(body) == [client.post([("image_file", photo)]).json] * 2


def shown(page: Page, selector: str) -> bool:
    return any(element.is_displayed() for element in page.all(selector))


def test_no_key_is_asked_for_where_none_is_set(
    browser: webdriver.Chrome, server: ServerProcess
) -> None:
    page = Page(browser, server)
    assert not shown(page, ".authorize, .authorization__btn")


def test_the_key_of_obico_can_be_entered(
    browser: webdriver.Chrome, start_server: StartServer
) -> None:
    page = Page(browser, start_server({"ML_API_TOKEN": "secret"}))
    page.click(".authorize")
    assert shown(page, ".auth-container")


def test_a_key_that_is_entered_is_sent(
    browser: webdriver.Chrome, start_server: StartServer
) -> None:
    page = Page(browser, start_server(api_key="secret"))
    page.click(".authorize")
    page.find(".auth-container input").send_keys("secret")
    page.click(".auth-container .authorize")
    page.click(".modal-ux .btn-done")
    assert page.execute(page.open("get", "/models"))[0] == "200"


def test_health_is_asked_for_in_the_page(browser: webdriver.Chrome, server: ServerProcess) -> None:
    page = Page(browser, server)
    status, _ = page.execute(page.open("get", "/readyz"))
    assert status == "200"


def test_the_page_is_found_without_its_slash(client: Client) -> None:
    answer = client.get("/ui")
    assert answer.status in {301, 302, 307, 308}
    assert answer.headers["Location"].endswith("/ui/")


OTHER_ORIGIN = """
const [url, photo, done] = arguments;
const form = new FormData();
form.append("file", new Blob([Uint8Array.from(atob(photo), (x) => x.charCodeAt(0))]), "a.jpg");
fetch(url, {method: "POST", body: form, headers: {"X-API-Key": "sesame"}})
  .then((answer) => answer.json().then((json) => done([answer.status, json.success])))
  .catch((error) => done(["blocked", String(error)]));
"""
"""Sends an image with a key, for which a browser asks before; returns what the page can read."""


@pytest.mark.parametrize("is_listed", [True, False])
def test_a_page_of_another_origin_reads_answers_if_it_is_listed(
    browser: webdriver.Chrome,
    server: ServerProcess,
    start_server: StartServer,
    photo: bytes,
    is_listed: bool,
) -> None:
    """The other origin is the shared server's page, which differs by its port."""
    origin = f"http://127.0.0.1:{server.port if is_listed else 1}"
    other = start_server(cors_origins=origin, api_key="sesame")
    Page(browser, server)
    url = f"http://127.0.0.1:{other.port}/v1/vision/detection"
    encoded = base64.b64encode(photo).decode()
    found, detail = browser.execute_async_script(OTHER_ORIGIN, url, encoded)
    assert (found, detail is True) == ((200, True) if is_listed else ("blocked", False)), detail
