"""What stands in front of the stack of containers: limits for every address, and a login that is slow to guess at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "infra" / "compose"
Block = list[tuple[list[str], "Block"]]
"""Directives with their words, and those inside their braces."""


def parse(text: str) -> Block:
    text = re.sub(r"(^|\s)#[^\n]*", r"\1", text)
    words = iter(re.findall(r"\"[^\"]*\"|'[^']*'|[{};]|(?:\$\{\w+\}|[^\s{};])+", text))
    return list(_directives(words))


def _directives(words: Iterator[str]) -> Iterator[tuple[list[str], Block]]:
    said: list[str] = []
    for word in words:
        if word == "}":
            return
        if word == ";":
            yield said, []
            said = []
        elif word == "{":
            yield said, list(_directives(words))
            said = []
        else:
            said.append(word)


def values(block: Block, name: str) -> list[list[str]]:
    return [said[1:] for said, _ in block if said[0] == name]


HTTP = next(inner for said, inner in parse((COMPOSE / "nginx.conf").read_text()) if said == ["http"])
SERVERS = [inner for said, inner in HTTP if said == ["server"]]
LOGIN = parse((COMPOSE / "login.conf").read_text())


def test_every_address_is_limited_and_no_client_may_dawdle() -> None:
    zones = {
        each[1].split(":")[0].removeprefix("zone=")
        for name in ("limit_conn_zone", "limit_req_zone")
        for each in values(HTTP, name)
    }
    asked = [each[0].removeprefix("zone=") for block in (HTTP, *_inner(HTTP)) for each in values(block, "limit_req")]
    asked += [each[0] for block in (HTTP, *_inner(HTTP)) for each in values(block, "limit_conn")]
    assert set(asked) == zones == {"connections", "requests", "guesses"}
    for name in ("client_header_timeout", "client_body_timeout", "send_timeout"):
        ((seconds,),) = values(HTTP, name)
        assert int(seconds.removesuffix("s")) <= 20
    assert values(HTTP, "limit_conn_status") == values(HTTP, "limit_req_status") == [["429"]]


def _inner(block: Block) -> Iterator[Block]:
    for _, inner in block:
        yield inner
        yield from _inner(inner)


def test_every_page_asks_for_the_login_and_the_service_for_its_keys() -> None:
    listening = [server for server in SERVERS if ["8443", "ssl"] in [each[:2] for each in values(server, "listen")]]
    pages = {values(server, "server_name")[0][0]: values(server, "include") for server in listening}
    assert pages == {
        "~^page\\.": [["login.conf"]],
        "~^prefect\\.": [["login.conf"]],
        "~^mlflow\\.": [["login.conf"]],
        "~^reports\\.": [["login.conf"]],
        "_": [],
    }
    others = [values(server, "listen")[0][0] for server in SERVERS if server not in listening]
    assert all(address.startswith("127.0.0.1:") for address in others)


def test_a_password_that_is_not_known_to_be_right_is_tried_slowly() -> None:
    ((path,),) = values(LOGIN, "auth_request")
    asking = next(inner for said, inner in LOGIN if said == ["location", "=", path])
    ((address,),) = values(asking, "proxy_pass")
    deciding = next(server for server in SERVERS if values(server, "listen") == [[address.removeprefix("http://")]])
    assert values(deciding, "auth_basic_user_file") == [["/run/secrets/nginx/users"]]
    slow = next(inner for said, inner in deciding if said[0] == "location")
    assert values(slow, "limit_req") == [["zone=guesses", "burst=5"]]
    zone = next(each for each in values(HTTP, "limit_req_zone") if each[1].startswith("zone=guesses:"))
    assert zone[2] == "rate=30r/m"
    ((header,),) = values(deciding, "real_ip_header")  # so that the address is the client's
    assert [header, "$remote_addr"] in values(asking, "proxy_set_header")
    assert ["$http_authorization"] in values(asking, "proxy_cache_key")  # a right one opens for itself alone
    assert values(asking, "proxy_cache_valid") == [["200", "5m"]]
    for page in ("page", "operating"):  # for so long a login that was removed still enters
        assert "still enters for up to five minutes" in (ROOT / f"docs/{page}.md").read_text()
    assert ["internal"] in [said for said, _ in asking]


def test_who_logged_in_is_said_by_nginx_alone_and_one_login_may_do() -> None:
    assert ["X-User", "$remote_user"] in values(HTTP, "proxy_set_header")  # in the place of what a client sends
    page = next(server for server in SERVERS if ["~^page\\."] in values(server, "server_name"))
    assert not any(values(each, "proxy_set_header") for each in (page, *_inner(page)))  # its own would end those of all
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["page"]
    assert "--behind-login" in service["command"]
    assert service["environment"]["DRIFTWHEEL_PAGE_OPERATORS"] == "${DRIFTWHEEL_PAGE_OPERATORS:-admin}"


def test_the_container_has_what_its_configuration_names() -> None:
    volumes = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["nginx"]["volumes"]
    for name in ("nginx.conf", "login.conf"):
        assert f"./infra/compose/{name}:/etc/nginx/{name}:ro" in volumes
