"""What README and docs/ show runs, and what they name exists."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from mor_core.checkpoints.checkpoint import checkpoint_root, list_checkpoints
from mor_core.cli.cli import app
from tests.test_architecture import PACKAGES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}
PAGES = {ROOT / "README.md": README, **{ROOT / "docs" / name: DOCS[name] for name in sorted(DOCS)}}
MAX_README_BYTES = 12_000
FOLDERS = "mor_core|app|pages|tests|recipes|checkpoints|docs|\\.ci|\\.streamlit"
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)


def fenced(text: str, language: str) -> list[str]:
    return [block for found, block in FENCED.findall(text) if found == language]


def code_spans(text: str) -> list[str]:
    """Return what stands between single backticks, outside fenced blocks."""
    return re.findall(r"`([^`\n]+)`", FENCED.sub("", text))


def shell_commands(text: str) -> Iterator[str]:
    """Yield the commands of fenced blocks and of code spans, without comments."""
    lines = [line for block in fenced(text, "sh") for line in block.splitlines()]
    for line in [*lines, *code_spans(text)]:
        for command in line.partition(" #")[0].split("&&"):
            if command.strip():
                yield command.strip()


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def named_paths(text: str) -> set[str]:
    """Return every path that a page names; a word in capitals, such as NAME, stands for any."""
    found = re.findall(rf"(?<![\w/.-])(?:{FOLDERS})/[\w./*-]*[\w/*]", text)
    return {re.sub(r"(?<![A-Za-z])[A-Z]{2,}(?![A-Za-z])", "*", path).rstrip("/") for path in found}


def source_code(*parts: str) -> str:
    files = [
        path
        for part in parts
        for pattern in ("*.py", "*.js")
        for path in sorted((ROOT / part).rglob(pattern))
    ]
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


def test_the_readme_is_short():
    assert (ROOT / "README.md").stat().st_size <= MAX_README_BYTES


def test_python_blocks_run(capsys):
    """README alone has Python blocks; a page that gets one is to run it here too."""
    blocks = fenced(README, "python")
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert "None" in lines[-1]  # the newest token has no depth yet
    assert any(re.search(r" [123] \[", line) for line in lines[:-1])
    assert not [name for name, text in DOCS.items() if fenced(text, "python")]


def test_links_lead_somewhere():
    faults, num_links = [], 0
    for page, text in PAGES.items():
        for target in re.findall(r"\]\(((?!http)[^)]+)\)", text):
            name, _, anchor = target.partition("#")
            path = (page.parent / name).resolve() if name else page
            num_links += 1
            if not path.exists() or (anchor and anchor not in anchors(path.read_text("utf-8"))):
                faults.append(f"{page.name}: {target}")
    assert not faults
    assert num_links > 30


def test_the_readme_links_every_page_and_each_links_back():
    faults = [name for name in DOCS if f"(docs/{name})" not in README]
    faults += [name for name, text in DOCS.items() if "(../README.md)" not in text]
    assert not faults


def test_named_files_exist():
    named = [(page.name, path) for page, text in PAGES.items() for path in named_paths(text)]
    assert len(named) > 50
    assert not [f"{page}: {path}" for page, path in named if not any(ROOT.glob(path))]


def test_what_proves_a_point_is_a_test():
    proofs = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", DOCS["faithful.md"])
    assert len(proofs) > 10
    for file, name in proofs:
        assert f"\ndef {name}(" in (ROOT / file).read_text(encoding="utf-8"), name


def test_every_row_of_faithful_or_not_is_proved():
    rows = [line for line in DOCS["faithful.md"].splitlines() if line.startswith("| ")]
    assert len(rows) > 20
    assert not [row for row in rows[2:] if not re.search(r"`tests/\w+/test_\w+\.py[^|]*\|$", row)]


def commands_with_groups():
    """Every command by its words: `train`, and `data puzzles` for one of a group."""
    found = {}
    for name, command in get_command(app).commands.items():
        inside = getattr(command, "commands", None)
        found |= (
            {f"{name} {sub}": own for sub, own in inside.items()} if inside else {name: command}
        )
    return found


def test_commands_and_their_options_exist():
    known = commands_with_groups()
    groups = {name.split()[0] for name in known if " " in name}
    faults, used = [], set()
    for page, text in PAGES.items():
        for command in shell_commands(text):
            found = re.match(r"(?:\.venv/bin/)?mor ([a-z][\w-]*)", command)
            if found is None:
                continue
            name = found[1]
            if name in groups:
                name = " ".join(shlex.split(command)[1:3])
            used.add(name)
            params = known[name].params if name in known else []
            options = {name for param in params for name in param.opts} | {"--help"}
            unknown = [word for word in shlex.split(command) if word.startswith("--")]
            if name not in known or set(unknown) - options:
                faults.append(f"{page.name}: {command}")
    assert not faults
    assert used == set(known)  # each command is described somewhere


def test_targets_of_make_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w./-]+):", makefile, flags=re.MULTILINE))
    named = [
        (page.name, target)
        for page, text in PAGES.items()
        for command in shell_commands(text)
        if command.startswith("make ")
        for target in command.split()[1:]
    ]
    assert named
    assert not [f"{page}: make {target}" for page, target in named if target not in targets]


def test_variables_exist():
    code = source_code("mor_core", "app", "tests")
    named = {name for text in PAGES.values() for name in re.findall(r"\bMOR_[A-Z_]+", text)}
    assert named
    assert not [name for name in named if not re.search(rf"\b{name}\b", code)]


def test_named_functions_and_classes_exist():
    """A code span such as `Trace` or `load_trace()` is something that the sources define."""
    defined = r"^\s*(?:export )?(?:(?:def|class|function) {0}\b|{0} = )"
    code = source_code("mor_core", "app")
    named = {
        (page.name, found[1] or found[2])
        for page, text in PAGES.items()
        for span in code_spans(text)
        if (found := re.fullmatch(r"(\w+)\(\)|([A-Z][a-z]\w*)", span))
    }
    assert len(named) > 20
    assert not [
        f"{page}: {name}"
        for page, name in named
        if not re.search(defined.format(name), code, re.MULTILINE)
    ]


@pytest.mark.parametrize("part", PACKAGES)
def test_the_architecture_names_the_packages_in_order(part):
    section = DOCS["architecture.md"].split(f"## `{part}`, highest first\n")[1].split("\n## ")[0]
    named = re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)
    assert tuple(reversed(named)) == PACKAGES[part]


def test_the_cpu_build_is_the_pinned_version():
    requirements = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    pinned = re.search(r"^torch==([\d.]+)$", requirements, flags=re.MULTILINE)
    assert pinned is not None
    assert re.findall(r"\btorch==([\d.]+)", README) == [pinned[1]]


def test_the_command_is_installed():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"mor": "mor_core.cli.cli:main"}


def test_default_checkpoint_is_bundled():
    named = (checkpoint_root() / "default").read_text().strip()
    assert list_checkpoints()[0].name == named
