"""A use case that cannot work is refused when it is loaded, and the message is enough to correct it."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from expectations.errors import UseCaseError, UseCaseNotFoundError
from expectations.loading import MAX_PROBLEMS, SHIPPED, LoadedUseCase, load_use_case, shipped_use_cases

Make = Callable[..., Path]
GOOD = (SHIPPED / "bikes" / "usecase.yaml").read_text()


@pytest.mark.parametrize("name", sorted(shipped_use_cases()))
def test_what_ships_loads(name: str) -> None:
    assert load_use_case(name).name == name


def test_names_and_paths_lead_to_the_same_use_case(make_use_case: Make) -> None:
    folder = make_use_case()
    by_folder, by_file = load_use_case(str(folder)), load_use_case(str(folder / "usecase.yaml"))
    by_name = load_use_case("mine", {"mine": folder})
    assert by_folder.spec == by_file.spec == by_name.spec


def test_a_name_that_leads_nowhere_says_what_there_is() -> None:
    with pytest.raises(UseCaseNotFoundError, match=r"bikes, digits, flights.*did you mean 'flights'"):
        load_use_case("flihgts")


def test_a_replay_is_told_to_be_one() -> None:
    with pytest.raises(UseCaseNotFoundError, match=r"'flights-replay', a replay.*`driftwheel why flights-replay`"):
        load_use_case("flights-replay")
    with pytest.raises(UseCaseNotFoundError, match="one of bikes"):
        load_use_case("nothing-replay")


@pytest.mark.parametrize(
    ("written", "instead", "line_of", "message"),
    [
        ("collection: {lookback", "collection: {lokback", "lokback", "did you mean 'lookback'?"),
        (
            "task: regression",
            "task: regresion",
            "task:",
            "multiclass_classification, regression; found regresion (did you mean 'regression'?)",
        ),
        ("  - clip:", "  - clop:", "clop", "did you mean 'clip'?"),
        ("kind: file, path: data/rides", "kind: fiel, path: data/rides", "fiel", "did you mean 'file'?"),
        ("numeric: [temp,", "numeric: [casual,", "numeric: [casual", "casual is known only after the event"),
        ("numeric: [temp,", "numeric: [bikers,", "numeric: [bikers", "bikers is known only after the event"),
        ("metric: r2", "metric: roc_auc", "roc_auc", "regression has no metric 'roc_auc'"),
        ("release_cost: 0.4", "cooldown: 3d", "policy", "shorter than a window"),
        ("trigger: trial, release_cost: 0.4", "violations: 3, of: 2", "policy", "can never be reached"),
        ("trigger: trial", "trigger: trail", "trail", "did you mean 'trial'?"),
        ("release_cost: 0.4", "release_cots: 0.4", "release_cots", "did you mean 'release_cost'?"),
        ("release_cost: 0.4", "release_cost: 0", "release_cost", "greater than 0"),
        ("min: 0, max: 1}", "min: 2, max: 1}", "max: 1", "min 2.0 is above max 1.0"),
        ("lookback: 3d", "lookback: soon", "soon", "a duration is"),
        ('"1 if time_hour <= 5 else 0"', '"time_hour +* 5"', "+*", "a syntax error"),
        ('"1 if time_hour <= 5 else 0"', '"open(time_hour)"', "open(", "found `open(time_hour)`"),
        ("{metric: r2, min: 0.3}", "{metric: r2}", "{metric: r2}", "exactly one of min and max"),
        (
            "epochs: 40, patience",
            "epochs: 40, loss: cross_entropy, patience",
            "cross_entropy",
            "does not fit regression",
        ),
        ("keys: [time]", "keys: [time]\nkeys: [time]", "keys: [time]", "written twice"),
        ("keys: [time]", "<<: {keys: [casual]}\nkeys: [time]\n<<: {}", "<<: {}", "written twice"),
    ],
)
def test_a_fault_is_named_with_its_line_and_the_way_out(
    tmp_path: Path, written: str, instead: str, line_of: str, message: str
) -> None:
    text = (SHIPPED / "bikes" / "usecase.yaml").read_text()
    assert written in text
    text = text.replace(written, instead)
    (tmp_path / "usecase.yaml").write_text(text)
    (tmp_path / "suite.yaml").write_text("[]")

    with pytest.raises(UseCaseError) as caught:
        load_use_case(str(tmp_path))

    problem = caught.value.problems[0]
    assert message in problem.message
    assert problem.line is not None
    nearby = "\n".join(text.splitlines()[problem.line - 1 : problem.line + 6])
    assert line_of in nearby


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"name": "mine-replay"}, "name", "a name that ends in -replay is kept for replays"),
        (
            {"columns.hum": {"type": "number", "format": "%Y-%m-%d"}},
            "columns.hum",
            "`format` is how an instant is written, and it is number",
        ),
    ],
)
def test_what_contradicts_itself_is_named(
    make_use_case: Make, changes: dict[str, object], path: str, message: str
) -> None:
    with pytest.raises(UseCaseError) as caught:
        load_use_case(str(make_use_case(changes=changes)))
    assert [(problem.path, problem.message) for problem in caught.value.problems] == [(path, message)]


def test_all_problems_are_told_at_once(make_use_case: Make) -> None:
    folder = make_use_case(changes={"colour": "red", "monitoring.evry": "1d", "gates.0.metric": 5})
    with pytest.raises(UseCaseError) as caught:
        load_use_case(str(folder))
    assert {problem.path for problem in caught.value.problems} == {"colour", "monitoring.evry", "gates.0.metric"}


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "empty"), ("a: [1", "not YAML"), ("- 1", "Input should be"), ("a: 1\nb", "not YAML")],
)
def test_a_file_that_is_no_use_case_is_an_error_of_ours(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "usecase.yaml").write_text(content)
    (tmp_path / "suite.yaml").write_text("[]")
    with pytest.raises(UseCaseError, match=message):
        load_use_case(str(tmp_path))


@pytest.mark.parametrize(
    ("suite", "message"),
    [
        ("{}", "a suite is a list"),
        ("- {kwargs: {}}", "needs `type`"),
        ("- {type: x, kwarg: {}}", "unknown key"),
        ("- {type: x, severity: loud}", "one of critical, warning, info"),
    ],
)
def test_a_suite_that_is_none_is_refused(make_use_case: Make, suite: str, message: str) -> None:
    folder = make_use_case()
    (folder / "suite.yaml").write_text(suite)
    with pytest.raises(UseCaseError, match=message):
        load_use_case(str(folder))


def test_the_digest_follows_the_content_and_not_the_place(make_use_case: Make) -> None:
    one, other = make_use_case("one"), make_use_case("other", {"name": "one"})
    first = load_use_case(str(one)).digest
    assert load_use_case(str(other)).digest == first
    (one / "suite.yaml").write_text("[]")
    assert load_use_case(str(one)).digest != first


@contextmanager
def within_a_second() -> Iterator[None]:
    """Hold the processor time a block takes, on however busy a machine: `bikes`, loaded before, has imported all."""
    began = time.process_time()
    try:
        yield
    finally:
        assert time.process_time() - began < 1


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 12)
)


@pytest.mark.parametrize("name", ["usecase.yaml", "suite.yaml"])
@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (LAUGHS, 1, "more than 50,000 values"),
        ("[" + "1," * 400_000 + "1]", 1, "more than 50,000 values"),
        ("\n- " + "[" * 5000 + "]" * 5000, 2, "nested deeper than 50 levels"),
        ("{" * 200_000, 1, "nested deeper than 50 levels"),
        ("&a [*a]", 1, "nested deeper than 50 levels"),
        ("a: &a {b: *a}", 1, "nested deeper than 50 levels"),
        ("a: &a {<<: *a}", 1, "nested deeper than 50 levels"),
        ("- 1\n- " + "9" * 400, 2, "a number of 400 characters"),
        ("- 1\n- " + "9" * 30, 2, "must be finite and fit 64 bits"),
        ("- 1\n- .inf", 2, "must be finite and fit 64 bits"),
        ("- 1\n- .nan", 2, "must be finite and fit 64 bits"),
        ("- 1\n- x" + "y" * 2**20, 1, "larger than 1024 KB"),
        ("- 1\n- a\0b", 2, "the character U\\+0000"),
        ('- 1\n- "a\\0b"', 2, "a control character"),
        ('- 1\n- "\\e[31m"', 2, "a control character"),
        ('- {"\\0": 1}', 1, "a control character"),
        ("- 1\n- a: {{ project }}", 2, "a key must be a text .is this a template's"),
        ("- {{ project }}", 1, "a key must be a text .is this a template's"),
        ("- 1\n- ? [a]\n  : 1", 2, "a key must be a text"),
        ("- {<<: 5}", 1, "<< takes over a mapping"),
        ("-\n\t- a", 2, "cannot start any token"),
        ("- !!python/object/apply:os.system [exit]", 1, "the tag 'python/object/apply:os.system' means nothing"),
        ("- " + "!" * 500_000, 1, "the tag '!!!.*!…' means nothing"),
        ("- !!set {a}", 1, "the tag 'set' means nothing"),
        ("- !!int many", 1, "no number"),
        ("- 1\n---\n- 2", 2, "another document"),
        ("- *nobody", 1, "undefined alias"),
        ("- a\n- ä".encode("latin-1"), 2, "not UTF-8"),
        ("- a".encode("utf-16"), 1, "not UTF-8"),
    ],
)
def test_a_bomb_is_a_problem_with_its_line_within_a_second(
    tmp_path: Path, bikes: LoadedUseCase, name: str, content: str | bytes, line: int, message: str
) -> None:
    for each, good in (("usecase.yaml", GOOD), ("suite.yaml", "[]")):
        (tmp_path / each).write_text(good)
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UseCaseError, match=message) as caught, within_a_second():
        load_use_case(str(tmp_path))
    (problem,) = caught.value.problems
    assert (Path(problem.file).name, problem.line) == (name, line)
    assert len(problem.message) < 300


@pytest.mark.parametrize(
    ("written", "instead", "message"),
    [
        ('"1 if time_hour <= 5 else 0"', f"'{'-' * 50_000}time_hour'", "of at most 10,000"),
        ('"1 if time_hour <= 5 else 0"', f"'{'-' * 5_000}time_hour'", "nested deeper than 100"),
        ('"1 if time_hour <= 5 else 0"', f"'{'9' * 400} + time_hour'", "too large for 64 bits"),
        ('"1 if time_hour <= 5 else 0"', "{text: x, root: {}, columns: [x]}", "an expression is a text"),
        ("every: 1mo", "every: {text: 1mo, months: 1, seconds: 0}", "known: rows"),
        ("every: 1mo", "every: 99999999999d", "at most 100 years"),
        ("every: 1mo", f"every: '{'9' * 5000}d'", "a duration is"),
        ("- clip:", "- {}\n  - clip:", "step starts with one of"),
        ("features:\n", "features:\n  -\n", "step starts with one of"),
        ("{active: false}", "{collect: '0 0 31 feb *'}", "a day that no month has"),
        ("{active: false}", "{collect: '61 * * * *'}", "'61' is no minute"),
    ],
)
def test_a_value_that_could_stop_a_flow_later_is_a_problem_now(
    tmp_path: Path, bikes: LoadedUseCase, written: str, instead: str, message: str
) -> None:
    assert written in GOOD
    (tmp_path / "usecase.yaml").write_text(GOOD.replace(written, instead, 1))
    (tmp_path / "suite.yaml").write_text("[]")
    with pytest.raises(UseCaseError, match=message) as caught, within_a_second():
        load_use_case(str(tmp_path))
    assert caught.value.problems[0].line
    assert len(str(caught.value)) < 3000


def test_anchors_merges_and_a_byte_order_mark_are_read(make_use_case: Make) -> None:
    folder = make_use_case(changes={"forbidden": ..., "features": [{"numeric": ["temp"]}]})
    plain = load_use_case(str(folder)).spec
    text = (folder / "usecase.yaml").read_text()
    assert "keys:\n- time\n" in text
    shared = text.replace("keys:\n- time\n", "keys: &keys\n- time\n") + "forbidden: *keys\n"
    (folder / "usecase.yaml").write_text(
        "\ufeff" + shared.replace("clock:\n  column: time\n", "clock: {<<: {column: time}}\n")
    )
    spec = load_use_case(str(folder)).spec
    assert (spec.keys, spec.clock) == (plain.keys, plain.clock)
    assert spec.forbidden == ("time",)


@pytest.mark.slow
def test_of_many_problems_the_first_are_told(tmp_path: Path) -> None:
    (tmp_path / "usecase.yaml").write_text(GOOD.replace("features:\n", "features:\n" + "  - {clop: 1}\n" * 5000))
    (tmp_path / "suite.yaml").write_text("[" + "{}," * 5000 + "]")
    with pytest.raises(UseCaseError, match="and more problems") as caught:
        load_use_case(str(tmp_path))
    assert len(caught.value.problems) == MAX_PROBLEMS + 1


@pytest.mark.parametrize("name", ["usecase.yaml", "suite.yaml"])
@pytest.mark.parametrize("target", ["/proc/self/environ", "/dev/zero", "pipe", "."])
def test_a_file_that_is_none_blocks_nobody(make_use_case: Make, name: str, target: str) -> None:
    folder = make_use_case()
    os.mkfifo(folder / "pipe")
    (folder / name).unlink()
    (folder / name).symlink_to(target)
    with pytest.raises(UseCaseError, match=r"cannot be read: it is a (file of the system|device|folder)"):
        load_use_case("registered", {"registered": folder})


def test_a_registered_folder_that_is_gone_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(UseCaseError, match=r"usecase\.yaml: is not there"):
        load_use_case("gone", {"gone": tmp_path / "gone"})


@pytest.mark.parametrize("reference", ["x" * 5000, "~nobody_here/x", "a\0b", ""])
def test_a_path_that_cannot_be_is_not_found(reference: str) -> None:
    with pytest.raises(UseCaseNotFoundError):
        load_use_case(reference)
