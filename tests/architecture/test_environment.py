"""The environment of the process is read and set by few modules, each for a reason."""

import ast

from tests.architecture.test_rooms import ROOMS, first, modules

SETTINGS = {"infra/settings.py", "infra/environment.py"}
OTHERS = {
    "infra/compose/preparing.py": "settings of the containers, as Compose takes them, and where the engine listens",
    "infra/compose/compose.py": "the project's name in a backup's settings, as Compose would take it",
    "infra/compose/probing.py": "a password within a container, by the name of its variable",
    "infra/pages.py": "what MLflow's own server reads, before it is imported",
    "infra/serving/helper_process.py": "what the processes that read tables and explain inherit",
    "infra/stack.py": "what the stack's processes inherit",
    "infra/vault.py": "restic's own variables, and what it inherits",
    "flows/containers.py": "what the worker handed down to a flow run in a container",
    "flows/deployments.py": "where Prefect listens, as `tell_libraries` set it",
    "flows/local_runs.py": "where Prefect listens, as `tell_libraries` set it",
    "tasks/compute/ray_own.py": "what Ray reads as it is imported and starts; it has no other door",
    "tasks/stores/tracking.py": "how long MLflow's client waits and what it logs in with; it has no other door",
    "tasks/__init__.py": "how threads of OpenMP wait; what loads it reads it, and may be any room of tasks",
    "tasks/monitoring/report.py": "that Evidently sends nothing home",
}


NAMES = ("environ", "environb", "getenv", "putenv", "unsetenv")


def touches_the_environment(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module == "os" and any(each.name in NAMES for each in node.names)
    return isinstance(node, ast.Attribute) and node.attr in NAMES and getattr(node.value, "id", "") == "os"


def test_whoever_touches_the_environment_stands_here_with_why() -> None:
    touching = {
        name: node
        for name, module in modules(*ROOMS, naming=NAMES)
        for node in ast.walk(module)
        if touches_the_environment(node)
    }
    assert set(touching) == {*SETTINGS, *OTHERS}
    for text in ("os.environ", "os.getenv", "from os import environ"):
        assert touches_the_environment(first(text))
    assert not touches_the_environment(first("process.environ"))


def test_settings_of_ours_are_read_where_settings_are() -> None:
    """Beyond those two rooms nothing asks the environment for a name that begins as ours do."""
    asking = {
        f"{name}:{node.lineno}"
        for name, module in modules(*ROOMS, naming=NAMES)
        if name not in SETTINGS
        for node in ast.walk(module)
        if asks_for_ours(node)
    }
    assert asking == set()
    for text in (
        'os.environ["DRIFTWHEEL_HOME"]',
        'os.environ.get("DRIFTWHEEL_HOME", "")',
        'os.getenv("DRIFTWHEEL_HOME")',
    ):
        assert asks_for_ours(first(text))


def asks_for_ours(node: ast.AST) -> bool:
    if isinstance(node, ast.Subscript):
        asked, of = [node.slice], node.value
    elif isinstance(node, ast.Call):
        asked, of = node.args, node.func
    else:
        return False
    ours = [each for each in asked if isinstance(each, ast.Constant) and str(each.value).startswith("DRIFTWHEEL_")]
    return bool(ours) and any(touches_the_environment(each) for each in ast.walk(of))
