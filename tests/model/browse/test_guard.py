"""Who is answered: paths, hosts, other sites, tokens, and the headers of every answer."""

import re

import pytest

from hpa_data.reader.reader import Reader
from hpa_model.browse.catalog import Catalog
from tests.model.browse.pages import HOST, Browser

SECRET = "s3cret-" * 4


def test_every_answer_has_the_headers_of_a_page_that_nobody_else_uses(browser: Browser) -> None:
    answers = {
        200: browser.get("/"),
        400: browser.get("/api/samples", "fold=x"),
        403: browser.get("/api/catalog", sec_fetch_site="cross-site"),
        404: browser.get("/nothing"),
        405: browser.get("/", method="POST"),
        421: browser.get("/", host="evil.example"),
    }
    for status, answer in answers.items():
        assert answer.status == status
        policy = dict(each.split(" ", 1) for each in answer.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["img-src"] == "'self' data:"
        for name, value in {
            "x-content-type-options": "nosniff",
            "x-frame-options": "DENY",
            "referrer-policy": "no-referrer",
            "cross-origin-resource-policy": "same-origin",
            "cross-origin-opener-policy": "same-origin",
            "cache-control": "no-store",
        }.items():
            assert answer.headers[name] == value
        assert "access-control-allow-origin" not in answer.headers


def test_the_page_has_no_script_or_style_of_its_own_and_loads_only_from_here(browser: Browser) -> None:
    text = browser.get("/").content.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bon\w+=|\bstyle=|https?:", text)
    linked = set(re.findall(r'(?:src|href)="(page/[^"]+)"', text))
    for name in ("main.js", "grid.js", "sample.js"):
        code = browser.get(f"/page/{name}").content.decode()
        linked |= {f"page/{found}" for found in re.findall(r'from "\./(\w+\.js)"', code)}
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", code)
    assert len(linked) > 8
    assert {browser.get(f"/{name}").status for name in linked} == {200}


@pytest.mark.parametrize(
    "path",
    [
        *("/page/../app.py", "/page/..%2fapp.py", "/page/%2e%2e/app.py", "/page/..\\app.py", "/page//etc/passwd"),
        *("/../../etc/passwd", "//etc/passwd", "/page/", "/page", "/page/index.html/..", "/page/main.js%00.css"),
        *("/page/main.js\0", "/image/../page/main.js/x", "/image/a.zarr", "/image/-1", "/image/1.5", "/image/0/"),
        *("/image/99999", f"/image/{10**30}", "/api/sample/66", "/api/sample/../catalog", "/api/sample/\u0663"),
        *(f"/{name}/{'9' * 5000}" for name in ("image", "map", "api/sample")),
        *("/a.zarr/zarr.json", "/static/main.js", "/page/__init__.pyi", "/page/\udcff", "/api", "/API/catalog"),
    ],
)
def test_nothing_is_served_but_the_files_of_the_page_and_samples(browser: Browser, path: str) -> None:
    answer = browser.get(path)
    assert (answer.status, answer.content) == (404, b"There is nothing of this name.\n")


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8000", "127.0.0.1", "127.0.0.1:80", "127.0.0.1.evil.example:8000"),
        *("localhost:8000.evil.example", "127.0.0.1:8000@evil.example", "", "0.0.0.0:8000", "[::1]:8000", "127.1:8000"),
    ],
)
def test_a_name_that_was_made_to_point_here_is_refused(browser: Browser, host: str) -> None:
    for path in ("/", "/api/catalog", "/image/0", "/nothing"):
        assert browser.ask(path, "", "GET", [("host", host)] * bool(host)).status == 421


def test_two_hosts_are_refused_and_letters_may_be_capital(browser: Browser) -> None:
    assert browser.ask("/", "", "GET", [("host", HOST), ("host", "evil.example")]).status == 421
    assert browser.get("/", host="LOCALHOST:8000").status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get"])
def test_only_reading_is_answered(browser: Browser, method: str) -> None:
    assert browser.get("/api/catalog", method=method).status == 405


def test_the_head_of_an_answer_has_no_content(browser: Browser) -> None:
    answer = browser.get("/api/catalog", method="HEAD")
    assert (answer.status, int(answer.headers["content-length"]) > 100) == (200, True)


@pytest.mark.parametrize("path", ["/api/catalog", "/api/samples", "/api/sample/0", "/image/0", "/page/main.js"])
def test_other_sites_get_nothing(browser: Browser, path: str) -> None:
    link = {"sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
    for site in ("cross-site", "same-site", "what"):
        assert browser.get(path, sec_fetch_site=site).status == 403
        assert browser.get(path, sec_fetch_site=site, **link).status == 403
    for origin in ("http://evil.example", "null", f"https://{HOST}", "http://127.0.0.1:9000", "http://localhost:8000"):
        assert browser.get(path, origin=origin).status == 403
    assert browser.get(path, origin=f"http://{HOST}").status == 200
    assert browser.get(path, sec_fetch_site="none").status == 200


def test_a_link_from_elsewhere_leads_to_the_page_alone(browser: Browser) -> None:
    assert (
        browser.get("/", sec_fetch_site="cross-site", sec_fetch_mode="navigate", sec_fetch_dest="document").status
        == 200
    )
    for dest in ("iframe", "embed", "object", "script"):
        asked = browser.get("/", sec_fetch_site="cross-site", sec_fetch_mode="navigate", sec_fetch_dest=dest)
        assert asked.status == 403


def test_without_the_token_nothing_is_served_and_with_it_a_cookie_is_given(catalog: Catalog, reader: Reader) -> None:
    browser = Browser(catalog, reader, token=SECRET, cookie="hpa_8000")
    paths = ("/", "/api/catalog", "/image/0", "/page/main.js", "/nothing")
    for path in paths:
        for query in ("", "token=", "token=wrong", f"token={SECRET[:-1]}", f"token={SECRET}x", f"Token={SECRET}"):
            assert browser.get(path, query).status == 401, (path, query)
        for cookie in ("", "hpa_8000=", "hpa_8000=wrong", f"hpa_8001={SECRET}", f"hpa_8000={SECRET}x", "=;;\x01"):
            assert browser.get(path, cookie=cookie).status == 401, (path, cookie)
    for path in paths[1:]:
        assert browser.get(path, f"token={SECRET}").status == 401
    given = browser.get("/", f"token={SECRET}")
    assert (given.status, given.headers["location"]) == (303, "/")
    name, _, rest = given.headers["set-cookie"].partition("=")
    value, *flags = [each.strip().lower() for each in rest.split(";")]
    assert (name, value) == ("hpa_8000", SECRET)
    assert {"httponly", "samesite=strict", "path=/"} <= set(flags)
    for path in paths[:-1]:
        assert browser.get(path, cookie=f"a=b; hpa_8000={SECRET}").status == 200


@pytest.mark.parametrize("before", ["a b=1", 'x="', "name[0]=1", "{}", "\xe9=1", "=;;\x01", "hpa_8000=old", "a=b=c"])
def test_cookies_of_other_servers_do_not_hide_the_token(catalog: Catalog, reader: Reader, before: str) -> None:
    browser = Browser(catalog, reader, token=SECRET, cookie="hpa_8000")
    assert browser.get("/api/catalog", cookie=f"{before}; hpa_8000={SECRET}; {before}").status == 200
    assert browser.get("/api/catalog", cookie=f"{before}; xhpa_8000={SECRET}; a=hpa_8000={SECRET}").status == 401


def test_the_token_does_not_open_the_door_to_other_sites(catalog: Catalog, reader: Reader) -> None:
    browser = Browser(catalog, reader, token=SECRET, cookie="hpa_8000")
    cookie = f"hpa_8000={SECRET}"
    assert browser.get("/api/catalog", cookie=cookie, sec_fetch_site="cross-site").status == 403
    assert browser.get("/api/catalog", cookie=cookie, host="evil.example:8000").status == 421


def test_hostile_texts_leave_the_server_as_json_of_letters_alone(browser: Browser) -> None:
    answer = browser.get("/api/samples", "n=8")
    assert answer.headers["content-type"] == "application/json"
    answer.content.decode("ascii")
    assert answer.json["samples"][0]["id"] == "<img src=x onerror=alert(1)>"
    refused = browser.get("/api/samples", "part=<script>alert(1)</script>")
    assert (refused.status, refused.headers["content-type"]) == (400, "text/plain; charset=utf-8")
