"""Where sources may lie: regular files here, stores elsewhere within limits, packages without running them."""

from __future__ import annotations

import gzip
import io
import os
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.ftp import FTPFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from pydantic import TypeAdapter

from expectations.data import Clock, FilesRead, Source, SourceContext
from expectations.errors import SourceError, SourceUnreachableError, UseCaseError
from expectations.loading import load_use_case
from expectations.slots import SOURCES
from expectations.variables import Variables
from tasks.collection.addresses import locate_files
from tasks.collection.archives import file_name, members
from tasks.collection.sources.file import FileSource
from tasks.collection.sources.tables import TableFiles
from tasks.collection.table_formats import format_of
from tests.fronts import serving

Make = Callable[..., Path]
CSV = b"a,b\n1,2\n"
SECRET = "s3cr3t"


def declare(**written: object) -> TableFiles:
    declared = TypeAdapter(Annotated[Source, SOURCES]).validate_python(written)
    assert isinstance(declared, TableFiles)
    return declared


def source(path: str, **others: object) -> TableFiles:
    return declare(kind="file", path=path, **others)


def locate(declared: TableFiles, folder: Path) -> list[str]:
    return list(declared.locate(SourceContext("rides", folder, set(), Clock(column="time"))))


def read(path: str, folder: Path, **others: object) -> bytes:
    declared = source(path, **others)
    found = [(address, declared.fetch("rides", address)) for address in locate(declared, folder)]
    return b"".join(content for each in found for _, content in members("rides", *each, declared.max_megabytes))


# --- this machine -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/dev/zero", "/dev/stdin", "/proc/self/environ", "/proc/self/fd/0", "/sys/kernel/notes"]
)
@pytest.mark.parametrize("form", ["{}", "file://{}", "local://{}", "link", "zip://a::{}", "zip://a::file://{}"])
def test_what_is_no_file_of_data_is_not_read(tmp_path: Path, path: str, form: str) -> None:
    os.environ["PLANTED"] = SECRET
    (tmp_path / "link").symlink_to(path)
    with pytest.raises((SourceError, SourceUnreachableError)) as caught:
        read(form.format(path), tmp_path)
    assert SECRET not in str(caught.value)


def test_a_pipe_a_socket_and_a_folder_block_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.csv"))
        for name, found in (("pipe", "a pipe"), ("socket", "a socket"), ("folder", "it is a folder")):
            with pytest.raises(SourceError, match=found):
                read(f"{name}.csv", tmp_path)


def test_links_to_files_and_packed_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "there.csv").write_bytes(CSV)
    (tmp_path / "here.csv").symlink_to(tmp_path / "there.csv")
    (tmp_path / "a::b.csv.gz").write_bytes(gzip.compress(CSV))
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as packed:
        packed.writestr("jan.csv", CSV)
    for path in (
        "here.csv",
        "a::b.csv.gz",
        f"file://{tmp_path}/there.csv",
        f"zip://jan.csv::{tmp_path}/c.zip",
        "*re.csv",
    ):
        assert read(path, tmp_path).startswith(CSV)


def test_what_unpacks_to_more_than_the_limit_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(b"0" * 3_000_000))
    with pytest.raises(SourceError, match=r"at most 2 MB .*, unpacked; found more at .*bomb.*`max_megabytes`"):
        read("bomb.csv.gz", tmp_path, max_megabytes=2)
    assert len(read("bomb.csv.gz", tmp_path, max_megabytes=3)) == 3_000_000


@pytest.mark.parametrize("content", [b"no zip", b"PK\x05\x06" + b"\0" * 18])
def test_a_damaged_or_empty_archive_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.csv.zip").write_bytes(content)
    with pytest.raises(SourceError, match="cut short or damaged"):
        read("a.csv.zip", tmp_path)


@pytest.mark.parametrize(
    ("path", "found"),
    [("/dev/zero", "zero: it is a device"), ("loop.csv", "loop.csv: Too many levels"), (f"{'x' * 300}.csv", "a file")],
)
def test_a_file_that_cannot_be_opened_is_not_called_damaged(tmp_path: Path, path: str, found: str) -> None:
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    with pytest.raises(SourceError, match=found) as caught:
        read(path, tmp_path)
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize(
    "path", ["memory://a", "dir://x::memory://a", "generic://file:///etc/passwd", "git://.:x@y/z", "x://y"]
)
def test_an_address_of_another_kind_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(SourceError, match="an address that can be read"):
        read(path, tmp_path)


def test_nobodys_home_is_a_path_that_leads_nowhere(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nothing at ~nobody_here"):
        read("~nobody_here/a.csv", tmp_path)


def test_a_star_in_a_query_is_no_pattern(tmp_path: Path) -> None:
    assert locate_files("rows", "https://host/rows.csv?select=*", tmp_path) == ["https://host/rows.csv?select=*"]


class _Listed(MemoryFileSystem):
    """A store whose paths lack the host, as those of FTP do, and that must be told it to open a file."""

    protocol = "ftp"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    _strip_protocol = FTPFileSystem._strip_protocol
    _get_kwargs_from_urls = staticmethod(FTPFileSystem._get_kwargs_from_urls)

    def __init__(self, host: str, port: int = 21, username: str = "", password: str = "", **others: Any) -> None:
        assert (host, port, username, password) == ("host", 2121, "ann", "pass")
        super().__init__(**others)


@pytest.fixture
def store() -> Iterator[_Listed]:
    """Stand in for FTP, with nothing in it."""
    fsspec.register_implementation("ftp", _Listed, clobber=True)
    _Listed.store.clear()
    yield _Listed("host", 2121, "ann", "pass")
    fsspec.register_implementation("ftp", FTPFileSystem, clobber=True)


@pytest.mark.parametrize("path", ["in/*.csv", "in/", "in/*/*.csv"])
def test_what_was_listed_at_a_host_can_be_fetched_there(path: str, tmp_path: Path, store: _Listed) -> None:
    file = "/in/day=1/a.csv" if path != "in/*.csv" else "/in/a.csv"
    store.pipe_file(file, CSV)
    address = f"ftp://ann:pass@host:2121/{path}"
    assert locate_files("rows", address, tmp_path) == [f"ftp://ann:pass@host:2121{file}"]
    assert read(address, tmp_path) == CSV


def test_a_folder_whose_files_could_not_be_fetched_is_refused(tmp_path: Path, store: _Listed) -> None:
    store.pipe_file("/in/a.csv", CSV)
    with pytest.raises(SourceError, match=r"ends in its path.*Name each file") as caught:
        locate_files("rows", "ftp://ann:pass@host:2121/in/*.csv?user=ann", tmp_path)
    assert "pass" not in str(caught.value)


# --- elsewhere ----------------------------------------------------------------------------------------------------


class _Odd(BaseHTTPRequestHandler):
    """Answers as its path says."""

    protocol_version = "HTTP/1.0"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        getattr(self, f"_{self.path.split('?')[0].strip('/').partition('.')[0]}")()

    def do_HEAD(self) -> None:
        self.do_GET()

    def _good(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(CSV)

    def _endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        if self.command == "GET":
            try:
                while True:
                    self.wfile.write(b"1,2\n" * 100_000)
            except OSError:  # the reader has gone
                self.server.left.set()  # type: ignore[attr-defined]

    def _silent(self) -> None:
        time.sleep(30)

    def _dripping(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"1")
                time.sleep(0.05)
        except OSError:
            self.server.left.set()  # type: ignore[attr-defined]

    def _status(self) -> None:
        self.send_response(int(self.path.split("?")[0].rpartition(".")[2]))
        self.end_headers()


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Odd)
    server.daemon_threads = True
    server.left = threading.Event()  # type: ignore[attr-defined]
    with serving(server):
        yield server


@pytest.fixture
def url(server: ThreadingHTTPServer) -> str:
    server.left.clear()  # type: ignore[attr-defined]
    return f"http://ann:{SECRET}@127.0.0.1:{server.server_address[1]}"


def test_a_store_elsewhere_is_read(url: str, tmp_path: Path) -> None:
    assert read(f"{url}/good.csv", tmp_path) == CSV


def test_an_endless_body_ends_at_the_limit(url: str, server: ThreadingHTTPServer, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="at most 3 MB"):
        read(f"{url}/endless.csv", tmp_path, max_megabytes=3)
    assert server.left.wait(30)  # type: ignore[attr-defined]


@pytest.mark.parametrize("page", ["silent", "dripping"])
def test_what_takes_too_long_is_unreachable(url: str, tmp_path: Path, page: str) -> None:
    with pytest.raises(SourceUnreachableError, match="none within 1s"):
        read(f"{url}/{page}.csv?token={SECRET}", tmp_path, timeout="1s")


@pytest.mark.parametrize(
    ("page", "transient"), [("status.500", True), ("status.429", True), ("status.403", False), ("status.404", False)]
)
def test_no_login_is_told_whatever_the_answer(url: str, tmp_path: Path, page: str, transient: bool) -> None:
    with pytest.raises(SourceError) as caught:
        read(f"{url}/{page}?token={SECRET}", tmp_path)
    error = caught.value
    assert error.transient == transient
    assert "127.0.0.1" in str(error)
    while error is not None:
        assert SECRET not in str(error)
        error = None if error.__suppress_context__ else error.__cause__ or error.__context__


def test_a_closed_port_is_unreachable_and_tells_no_login(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(SourceUnreachableError) as caught:
            read(f"http://ann:{SECRET}@127.0.0.1:{port}/a.csv", tmp_path)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://u:p@host:8443/a/b.csv?sig=x#y", "b.csv"),
        ("s3://key:p@bucket/a.parquet", "a.parquet"),
        ("zip://jan.csv::https://u:p@host/c.zip?sig=x/y", "c.zip"),
        ("data/a.csv.gz", "a.csv.gz"),
    ],
)
def test_a_file_is_named_without_what_its_address_holds(address: str, expected: str) -> None:
    assert file_name(address) == expected


# --- packages -----------------------------------------------------------------------------------------------------


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that can be found and leaves a trace when any of it runs."""
    root = tmp_path / "site"
    for folder in (root / "evil", root / "evil" / "sub"):
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
        (folder / "data.csv").write_bytes(CSV)
    (root / "outside.csv").write_bytes(CSV)
    monkeypatch.syspath_prepend(str(root))
    return tmp_path / "ran"


def test_a_package_is_found_and_not_imported(evil: Path, tmp_path: Path) -> None:
    declared = declare(kind="package", package="evil", path="sub/data.csv")
    (address,) = locate(declared, tmp_path)
    assert declared.fetch("rides", address) == CSV
    assert not evil.exists()


@pytest.mark.parametrize(
    ("package", "path", "message"),
    [
        ("evil.sub", "data.csv", "no name of a package"),
        ("", "data.csv", "no name of a package"),
        ("../evil", "data.csv", "no name of a package"),
        ("evil", "../outside.csv", "does not lie inside the package"),
        ("evil", "sub/../../outside.csv", "does not lie inside the package"),
        ("evil", "/etc/passwd", "does not lie inside the package"),
        ("evil", "", "does not lie inside the package"),
    ],
)
def test_a_package_source_that_leads_elsewhere_is_a_problem_with_a_line(
    evil: Path, make_use_case: Make, package: str, path: str, message: str
) -> None:
    folder = make_use_case(changes={"sources.rides": {"kind": "package", "package": package, "path": path}})
    with pytest.raises(UseCaseError, match=message) as caught:
        load_use_case(str(folder))
    assert caught.value.problems[0].line
    assert not evil.exists()


@pytest.mark.parametrize("package", ["__main__", "sys", "no_such_thing", "site"])
def test_a_module_that_holds_no_files_is_told(tmp_path: Path, package: str) -> None:
    declared = declare(kind="package", package=package, path="a.csv")
    with pytest.raises(SourceError, match=f"the package '{package}'"):
        locate(declared, tmp_path)


def test_what_a_variable_stands_for_is_in_the_request_and_in_no_word(tmp_path: Path) -> None:
    asked: list[str] = []

    class Rows(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            known = self.path == f"/in/{SECRET}.csv?sig=a%2Bb&me={SECRET}"
            self.send_response(200 if known else 403)
            self.send_header("content-length", str(len(CSV) * known))
            self.end_headers()
            self.wfile.write(CSV * known)

        def do_HEAD(self) -> None:
            self.send_error(405)

        def log_message(self, *_: object) -> None:
            pass

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Rows)) as server:
        told: list[str] = []
        written = f"http://127.0.0.1:{server.server_port}/in/${{NAME}}.csv?${{SIGNED}}"
        signed = {"NAME": SECRET, "SIGNED": f"sig=a%2Bb&me={SECRET}", "WRONG": "wr0ng-s3cret"}
        context = SourceContext("x", tmp_path, set(), None, variables=Variables(signed), report=told.append)
        assert source(written).read(context).rows() == [(1, 2)]
        with pytest.raises(SourceError) as refused:
            source(written.replace("SIGNED", "WRONG")).read(context)
    said = f"{refused.value} {told}"
    assert "HTTP 403" in said
    assert SECRET not in said
    assert "wr0ng" not in said
    with pytest.raises(SourceError, match="NOWHERE for the source 'x'"):
        source("${NOWHERE}/rows.csv").read(context)


def test_a_password_in_a_login_needs_no_escaping_and_a_renewed_token_makes_no_new_file(tmp_path: Path) -> None:
    written = FileSource(kind="file", path="ftp://${ME}:${PASSWORD}@host:2121/in/${DAY}/rows.csv")
    found = Variables({"ME": "ann", "PASSWORD": "p@ss/w:rd", "DAY": "a b"})
    context = SourceContext("x", tmp_path, set(), None, variables=found)
    assert written.written(context) == "ftp://ann:p%40ss%2Fw%3Ard@host:2121/in/a b/rows.csv"
    (tmp_path / "rows.csv").write_bytes(CSV)
    names = []
    for token in ("first-token", "second-token"):
        files = FilesRead()
        (tmp_path / token).mkdir()
        (tmp_path / token / "rows.csv").write_bytes(CSV)
        context = SourceContext("x", tmp_path, set(), None, variables=Variables({"TOKEN": token}), files=files)
        source("${TOKEN}/rows.csv").read(context)
        names.append(files.found[0][0])
    assert names[0] == names[1]


def test_an_archive_with_a_password_says_so() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.csv", "a,b\n1,2\n")
    content = bytearray(packed.getvalue())
    for sign, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(sign) + offset] |= 1
    with pytest.raises(SourceError, match=r"rows\.zip asks for a password"):
        list(members("x", "rows.zip", bytes(content), 10))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("rows.jsonl.gz", "jsonl"),
        ("rows.json.backup.csv", "csv"),
        ("of.parquet.days/rows.txt", "csv"),
        ("ROWS.NDJSON", "jsonl"),
        ("my.jsonl_of_may", "csv"),
        ("rows", "csv"),
    ],
)
def test_what_a_file_is_by_its_name_is_said_by_its_last_ending(name: str, kind: str) -> None:
    assert format_of(name, b"a,b\n") == kind
