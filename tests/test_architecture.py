"""The rules of the house that a machine can check."""

import ast
import functools
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.loops import for_each

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path for part in ("mor_core", "app", "pages") for path in (ROOT / part).rglob("*.py")
)
SHOWN = sorted(
    path for part in ("app", "mor_core/page", "pages") for path in (ROOT / part).rglob("*.*")
)


def inside(path):
    return path.relative_to(ROOT).as_posix()


each_source = for_each(SOURCES, inside)
FORBIDDEN = {
    "mor_core": {"app", "pages", "streamlit", "plotly", "altair"},
    "app": {"pages"},
    "pages": {"mor_core", "torch", "transformers", "plotly", "altair"},
}
PACKAGES = {
    "mor_core": (
        "common",
        "model",
        "traces",
        "page",
        "checkpoints",
        "data",
        "serving",
        "generation",
        "server",
        "training",
        "evaluation",
        "interop",
        "benchmarks",
        "reports",
        "cli",
    ),
    "app": (
        "text",
        "style",
        "tables",
        "charts",
        "runs",
        "components",
        "frame",
        "views",
        "learn",
    ),
}
"""Lowest first: a package imports only those before it in its own part, and `app` all of `mor_core`."""
FLAT_FILES = {
    "mor_core": {"__init__.py"},
    "app": {"__init__.py", "main.py", "asgi.py", "bench_server.py"},
}
FREE_OF_TORCH = (
    "mor_core.common",
    "mor_core.traces",
    "mor_core.page",
    "mor_core.server",
    "mor_core.model.router_types",
    "mor_core.model.routing_rules",
    "mor_core.data.puzzles",
    "app.text",
    "app.tables",
    "app.charts",
)
"""Packages, with all their modules, and modules that import without torch and without Streamlit."""
MAX_FUNCTION_LINES = 60
# What is longer for now. An entry that is no longer needed fails, so the list can only shrink.
LONGER_FUNCTIONS = {
    "mor_core/model/model.py:forward": 74
}  # Hugging Face's signature and its docstring


@functools.cache
def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def imported_packages(path):
    """Yield the packages of the same part that a file imports, wherever in the file, with the line."""
    part = path.relative_to(ROOT).parts[0]
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{name.name}" for name in node.names]
        else:
            continue
        for name in names:
            root, _, rest = name.partition(".")
            if root == part and (package := rest.partition(".")[0]) in PACKAGES[part]:
                yield package, node.lineno


def function_lengths(path):
    for node in ast.walk(parsed(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node.end_lineno - node.lineno + 1


@each_source
def test_arrows_point_down(path):
    part = path.relative_to(ROOT).parts[0]
    found = {name.partition(".")[0] for name in imported(parsed(path))}
    assert not found & FORBIDDEN[part]


@pytest.mark.parametrize("part", PACKAGES)
def test_packages_import_downward_only(part):
    """An order without an arrow upward has no circle either."""
    order = {package: height for height, package in enumerate(PACKAGES[part])}
    upward = [
        f"{path.relative_to(ROOT)}:{line} imports {package}"
        for path in SOURCES
        if (own := path.relative_to(ROOT).parts)[0] == part and own[1] in order
        for package, line in imported_packages(path)
        if order[package] > order[own[1]]
    ]
    assert not upward


@pytest.mark.parametrize("part", PACKAGES)
def test_every_file_has_a_package_and_every_package_says_what_it_holds(part):
    folders = {path.parent.name for path in (ROOT / part).glob("*/__init__.py")}
    assert folders == set(PACKAGES[part])
    assert {path.name for path in (ROOT / part).glob("*.py")} == FLAT_FILES[part]
    for package in folders:
        said = ast.get_docstring(ast.parse((ROOT / part / package / "__init__.py").read_text()))
        assert said is not None, package
        assert "Not here: " in said, package


def test_tests_stand_in_the_order_of_the_packages():
    known = {package for packages in PACKAGES.values() for package in packages}
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert folders <= known | {"e2e"}


def test_functions_stay_small():
    long = [
        f"{path.relative_to(ROOT)}:{function} has {length} lines"
        for path in SOURCES
        for function, length in function_lengths(path)
        if length
        > LONGER_FUNCTIONS.get(
            f"{path.relative_to(ROOT).as_posix()}:{function}", MAX_FUNCTION_LINES
        )
    ]
    assert not long


def test_no_exception_outlives_its_need():
    for entry in LONGER_FUNCTIONS:
        name, _, function = entry.partition(":")
        lengths = [length for found, length in function_lengths(ROOT / name) if found == function]
        assert max(lengths) > MAX_FUNCTION_LINES, entry


@each_source
def test_caching_and_session_state_have_one_place_each(path):
    text = path.read_text()
    if path != ROOT / "app" / "runs" / "resources.py":
        assert not re.search(r"\bcache_(data|resource)\b", text)
    if path != ROOT / "app" / "runs" / "session.py":
        assert "session_state" not in text


@for_each(SHOWN, inside)
def test_nothing_on_the_screen_is_random_or_from_elsewhere(path):
    if path.suffix not in (".py", ".js", ".css", ".html"):
        return
    text = path.read_text(encoding="utf-8")
    for made_up in ("Math.random", "np.random", "numpy.random", "torch.rand", "default_rng"):
        assert made_up not in text
    if path.suffix == ".py":
        modules = {name.partition(".")[0] for name in imported(parsed(path))}
        assert not modules & {"random", "faker"}
    else:
        assert not re.search(r"https?://(?!www\.w3\.org/)|[\"'(]//\w", text)
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)


def test_lock_file_of_the_checks_names_no_registry():
    lock = (ROOT / "package-lock.json").read_text(encoding="utf-8")
    assert '"integrity"' in lock
    assert not re.search(r'"resolved"|registry|\.tgz', lock)


SCRIPTS = [path for part in ("mor_core", "app") for path in sorted((ROOT / part).rglob("*.js"))]


@for_each([*SOURCES, *SCRIPTS], inside)
def test_routers_are_asked_what_they_can_do_not_for_their_name(path):
    """The name is compared where the model's own code stands, once; see `mor_core/model/router_types.py`."""
    if path.parent != ROOT / "mor_core" / "model":
        compared = re.search(
            r"router_type[^\n]{0,24}[=!]==?|is_token_choice", path.read_text("utf-8")
        )
        assert not compared, compared[0]


@each_source
def test_no_removed_streamlit_api(path):
    text = path.read_text()
    for gone in ("add_rows", "use_container_width", "components.v1", "experimental_"):
        assert gone not in text


def test_streamlit_is_told_not_to_collect_garbage_after_every_run():
    """A hidden option: if Streamlit renames it, streaming stalls, so its name is checked too."""
    from streamlit import config

    settings = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())
    assert settings["runner"]["postScriptGC"] is False
    assert "runner.postScriptGC" in config.get_config_options()
    assert settings["server"]["address"] == "127.0.0.1"
    assert settings["browser"]["gatherUsageStats"] is False


def modules_of(name):
    """Return a module's name, and those of its submodules if it is a package."""
    folder = ROOT / name.replace(".", "/")
    inside = [] if not folder.is_dir() else sorted(folder.rglob("*.py"))
    return [
        name,
        *(f"{name}.{path.stem}" for path in inside if path.stem != "__init__"),
    ]


LIGHT = [
    "mor_core",
    "mor_core.checkpoints.checkpoint",
    "mor_core.cli.cli",
    "app.runs.jobs",
    "app.main",
]


IMPORT_UNTIL_FOUND = """
import importlib, sys

for word in sys.argv[1:]:
    if word.startswith("without:"):
        unwanted = word.removeprefix("without:").split(",")
        continue
    importlib.import_module(word)
    if found := [name for name in unwanted if name in sys.modules]:
        sys.exit(f"{word} imports {found}")
"""


def test_light_modules_import_no_torch():
    """In one process: the first that imports torch is named, and those after it are not looked at."""
    free = [module for name in FREE_OF_TORCH for module in modules_of(name)]
    run = subprocess.run(
        [
            *(sys.executable, "-c", IMPORT_UNTIL_FOUND),
            *("without:torch,streamlit", *free),
            *("without:torch", *LIGHT),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert run.returncode == 0, run.stderr
