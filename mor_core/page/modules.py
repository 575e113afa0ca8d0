"""Bundles browser modules into one without imports, so that users need no Node and a standalone page needs no server.

Each module keeps its own scope, so that names cannot collide. The modules are standard JavaScript and also run without
bundling. Only these forms of import and export are supported, each at the start of a line; others are refused:

    import { one, two as second } from "./other.js";
    import render from "./other.js";
    export function name() {}, export async function name() {}, export class Name {}, export const name = value
    export default function name() {}
"""

import re
from collections.abc import Iterator
from pathlib import Path

_IMPORT = re.compile(r'^import (?:\{([^}]*)\}|(\w+)) from "(\.[^"\n]*)";$', re.MULTILINE)
_EXPORT = re.compile(
    r"^export (default )?(?=(?:(?:async )?function|class|const) (\w+)\b)", re.MULTILINE
)
_UNKNOWN = re.compile(r"^(?:import|export)\b.*$", re.MULTILINE)
_RESULT = re.compile(r"^export default \w+;\n", re.MULTILINE)


class ModuleError(ValueError):
    """The browser modules cannot be bundled."""


def join(entry: str, folder: Path) -> str:
    """Return a module equivalent to `entry` that contains all its imports.

    Args:
        entry: source of a module; if it has a line `export default name;`, the result has the same export.
        folder: that the entry's imports are relative to.

    Raises:
        ModuleError: a form of import or export is not supported, a module is missing or lacks an imported name, or
            modules import each other in a cycle.
    """
    joined = _Joined()
    result = _RESULT.search(entry)
    body = joined.resolve(_RESULT.sub("", entry), folder, "the entry", ())
    return "\n".join(["const $modules = [];", *joined.scopes, body, result[0] if result else ""])


class _Joined:
    """The modules bundled so far, in order: each module comes after those that it imports."""

    def __init__(self) -> None:
        self.scopes: list[str] = []
        self._found: dict[
            Path, tuple[int, dict[str, str]]
        ] = {}  # its number, and its exports: name inside the module by exported name

    def resolve(self, source: str, folder: Path, name: str, above: tuple[Path, ...]) -> str:
        """Return a module's source with its imports read from the bundled modules, and without `export` keywords."""

        def taken(match: re.Match[str]) -> str:
            listed, default, target = match.groups()
            path = (folder / target).resolve()
            number, exports = self._add(path, name, above)
            pairs = [("default", default)] if default else list(_names(listed))
            for outside, _ in pairs:
                if outside not in exports:
                    raise ModuleError(
                        f"{name} imports {outside}, which {path.name} does not export"
                    )
            names = ", ".join(f"{outside}: {inside}" for outside, inside in pairs)
            return f"const {{ {names} }} = $modules[{number}];"

        body = _EXPORT.sub("", _IMPORT.sub(taken, source))
        if unknown := _UNKNOWN.search(body):
            raise ModuleError(
                f"{name} must use a form of import or export that modules.py lists, got {unknown[0].strip()}"
            )
        return body

    def _add(
        self, path: Path, importer: str, above: tuple[Path, ...]
    ) -> tuple[int, dict[str, str]]:
        """Bundle a module unless that is done already; return its number and its exports."""
        if path in above:
            cycle = " -> ".join(part.name for part in (*above[above.index(path) :], path))
            raise ModuleError(f"modules must not import each other in a cycle, got {cycle}")
        if path not in self._found:
            if not path.is_file():
                raise ModuleError(f"{importer} imports {path.name}, which {path.parent} lacks")
            source = path.read_text(encoding="utf-8")
            body = self.resolve(source, path.parent, path.name, (*above, path))
            exports = {
                "default" if match[1] else match[2]: match[2] for match in _EXPORT.finditer(source)
            }
            self._found[path] = len(self.scopes), exports
            given = ", ".join(f"{outside}: {inside}" for outside, inside in exports.items())
            self.scopes.append(
                f"$modules.push((() => {{ // {path.name}\n{body}\nreturn {{ {given} }};\n}})());"
            )
        return self._found[path]


def _names(listed: str) -> Iterator[tuple[str, str]]:
    """Yield the exported and the local name of each item in an import list such as `one, two as second`."""
    for part in filter(None, map(str.strip, listed.split(","))):
        outside, _, inside = part.partition(" as ")
        yield outside, inside or outside
