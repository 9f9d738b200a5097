"""The pages over HTTP: what they may do, what is cached, what is packed, what is not served."""

from __future__ import annotations

import gzip
import re

import httpx
import pytest

from server.page import FILES, TYPES
from tests.support import ServerProcess


@pytest.mark.parametrize("path", ["/", "/admin", "/web/app.js", "/web/style.css"])
def test_nothing_inline_nothing_from_elsewhere_and_in_nobodys_frame(
    scripted_server: ServerProcess, path: str
) -> None:
    headers = httpx.get(scripted_server.url + path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"https?:|\*", policy)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["permissions-policy"].startswith("microphone=(self), camera=()")
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("page", sorted(FILES.glob("*.html")), ids=lambda page: page.name)
def test_a_page_has_no_inline_script_style_or_handler(page: object) -> None:
    html = FILES.joinpath(str(page)).read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", html)


def test_no_module_puts_text_in_as_markup() -> None:
    for module in FILES.glob("*.js"):
        code = module.read_text()
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", code
        )


def test_a_file_that_was_not_changed_is_not_sent_again(scripted_server: ServerProcess) -> None:
    url = f"{scripted_server.url}/web/app.js"
    first = httpx.get(url)
    assert first.headers["cache-control"] == "no-cache"
    again = httpx.get(url, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]


def test_what_is_packed_is_the_same_and_has_a_tag_of_its_own(
    scripted_server: ServerProcess,
) -> None:
    url = f"{scripted_server.url}/web/style.css"
    plain = httpx.get(url, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    with httpx.stream("GET", url, headers={"Accept-Encoding": "gzip, br"}) as packed:
        assert packed.headers["content-encoding"] == "gzip"
        raw = b"".join(packed.iter_raw())
    assert gzip.decompress(raw) == plain.content
    assert len(raw) < len(plain.content) / 2
    assert packed.headers["etag"] != plain.headers["etag"]
    assert packed.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize("name", ["__init__.py", "..%2fserver%2fapp.py", "nothing.js", "", "app"])
def test_what_is_no_part_of_the_page_is_not_there(
    scripted_server: ServerProcess, name: str
) -> None:
    assert httpx.get(f"{scripted_server.url}/web/{name}").status_code == 404


def test_only_the_client_and_its_parts_may_be_imported_elsewhere(
    scripted_server: ServerProcess,
) -> None:
    allowed = {
        file.name
        for file in FILES.iterdir()
        if file.suffix in TYPES
        and "access-control-allow-origin"
        in httpx.get(f"{scripted_server.url}/web/{file.name}").headers
    }
    parts = re.findall(r'from "\./(.+)"', FILES.joinpath("antiphon.js").read_text())
    assert len(parts) > 1
    assert allowed == {"antiphon.js", *parts}
