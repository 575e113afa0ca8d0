"""Browser modules are joined in the order of their imports; what is served is their sources and nothing else."""

import re
from pathlib import Path

import pytest

from mor_core.page.modules import ModuleError, join
from mor_core.page.strip_files import STRIP, PageWords, script
from tests.loops import for_each

ROOT = Path(__file__).resolve().parents[2]
COMPONENTS = ROOT / "app" / "components"
ENTRIES = [
    STRIP / "strip.js",
    COMPONENTS / "pair" / "pair.js",
    COMPONENTS / "pair" / "race.js",
    COMPONENTS / "lessonparts" / "tokens.js",
    COMPONENTS / "lessonparts" / "bar.js",
    COMPONENTS / "copylink" / "copylink.js",
    STRIP.parent / "standalone.js",
]
SOURCES = sorted([*STRIP.parent.rglob("*.js"), *COMPONENTS.rglob("*.js")])
WORDS = PageWords({"speed": {"en": "Speed", "zh": "速度"}}, ["damn"])
IMPORTED = re.compile(r'^import .* from "(.*)";$', re.MULTILINE)


def below(path: Path) -> set[Path]:
    """Return a module and all that it imports, by a way of its own."""
    found, waiting = set(), [path]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            names = IMPORTED.findall(path.read_text())
            waiting += [(path.parent / name).resolve() for name in names]
    return found


def lines_of(path: Path) -> str:
    """Return a module's lines as they are served: without its imports, its exports ordinary definitions."""
    lines = path.read_text().splitlines()
    kept = [line for line in lines if not line.startswith("import ")]
    return "\n".join(re.sub(r"^export (default )?", "", line) for line in kept)


def served(path: Path) -> str:
    if path.name == "standalone.js":
        return join(path.read_text(), path.parent)
    return script(path, WORDS if "pair" in str(path) or path.name == "strip.js" else None)


def write(folder: Path, **sources: str) -> None:
    for name, text in sources.items():
        (folder / f"{name}.js").write_text(text)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda path: path.stem)
def test_what_is_served_is_its_sources_each_once_and_behind_what_it_imports(entry: Path) -> None:
    text = served(entry)
    plain = "\n".join(
        line
        for line in text.splitlines()
        if not re.match(r"const \{.*\} = \$modules\[\d+\];$", line)
    )
    sources = below(entry)
    places = {}
    for path in sources:
        body = lines_of(path)
        assert plain.count(body) == 1, path.name
        places[path] = plain.index(body)
    for path in sources:
        assert all(places[other] < places[path] for other in below(path) - {path})
    assert text.count("$modules.push(") == len(sources) - (entry.name == "standalone.js")
    assert not re.search(r"^import\b", text, re.MULTILINE)
    assert len(re.findall(r"^export\b", text, re.MULTILINE)) == (entry.name != "standalone.js")


def test_every_script_and_style_of_the_folders_is_used() -> None:
    assert set.union(*map(below, ENTRIES)) == set(SOURCES)


@for_each(SOURCES, lambda path: path.name)
def test_scripts_make_no_markup_from_text_invent_no_numbers_and_ask_no_other_host(
    path: Path,
) -> None:
    source = path.read_text()
    for banned in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Math.random",
        "//cdn",
        "http:",
        "https:",
    ):
        assert banned not in source


def test_names_of_two_modules_do_not_meet(tmp_path: Path) -> None:
    write(
        tmp_path,
        one="const held = 1;\nexport const first = () => held;\n",
        two='import { first as other } from "./one.js";\nconst held = 2;\n'
        "export function first() { return other() + held; }\n",
    )
    text = join('import { first } from "./two.js";\nconst held = first();\n', tmp_path)
    assert text.count("const held") == 3
    inside = [part for part in text.split("$modules.push") if "const held" in part]
    assert [part.split("const held")[1][:4] for part in inside] == [" = 1", " = 2"]
    assert "const { first: other } = $modules[0];" in inside[1]
    assert (
        "const { first: first } = $modules[1];\nconst held = first();"
        in inside[1].partition("})());")[2]
    )


def test_a_default_export_is_imported_by_any_name(tmp_path: Path) -> None:
    write(tmp_path, one="export default function render() {}\n")
    text = join('import draw from "./one.js";\nexport default draw;\n', tmp_path)
    assert "return { default: render };" in text
    assert "const { default: draw } = $modules[0];" in text
    assert text.rstrip().endswith("export default draw;")


@pytest.mark.parametrize(
    ("sources", "problem"),
    [
        ({"one": 'import { two } from "./one.js";'}, "cycle, got one.js -> one.js"),
        (
            {
                "one": 'import { b } from "./two.js";\nexport const a = 1;',
                "two": 'import { a } from "./one.js";\nexport const b = 1;',
            },
            "cycle, got one.js -> two.js -> one.js",
        ),
        ({"one": 'import { a } from "./two.js";'}, "one.js imports two.js, which"),
        (
            {"one": 'import { a } from "./two.js";', "two": "const a = 1;"},
            "one.js imports a, which two.js does not export",
        ),
        ({"one": "export let a = 1;"}, "got export let a = 1;"),
        ({"one": 'export * from "./two.js";'}, "got export [*] from"),
        ({"one": 'import * as a from "./two.js";'}, "got import [*] as a"),
        ({"one": 'import "./two.js";'}, "got import"),
        ({"one": 'import { a } from "elsewhere";'}, 'got import { a } from "elsewhere"'),
    ],
)
def test_what_cannot_be_joined_is_refused(
    sources: dict[str, str], problem: str, tmp_path: Path
) -> None:
    write(tmp_path, **sources)
    with pytest.raises(ModuleError, match=problem):
        join('import { a } from "./one.js";\n', tmp_path)
