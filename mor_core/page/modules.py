"""Joins browser modules into one that imports nothing, so that users need no Node and a page of its own no server.

Each module keeps a scope of its own: names of two modules cannot collide. The modules are standard JavaScript and run
unjoined as well. Of its imports and exports they use these forms, each at the start of a line; others are refused:

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
    """Browser modules that cannot be joined."""


def join(entry: str, folder: Path) -> str:
    """Return a module that does what `entry` does and imports nothing.

    Args:
        entry: source of a module; what it exports with a last line `export default name;` the result exports too.
        folder: that the entry's imports are relative to.

    Raises:
        ModuleError: a form of import or export that is not supported, a module that is missing, a name that it does
            not export, or modules that import each other in a circle.
    """
    joined = _Joined()
    result = _RESULT.search(entry)
    body = joined.resolve(_RESULT.sub("", entry), folder, "the entry", ())
    return "\n".join(["const $modules = [];", *joined.scopes, body, result[0] if result else ""])


class _Joined:
    """The modules met so far, each behind those that it imports."""

    def __init__(self) -> None:
        self.scopes: list[str] = []
        self._found: dict[
            Path, tuple[int, dict[str, str]]
        ] = {}  # its number, and names outside: inside

    def resolve(self, source: str, folder: Path, name: str, above: tuple[Path, ...]) -> str:
        """Return a module's source with its imports taken from those that are joined already, and nothing exported."""

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
                f"{name} must use the forms of import and export that are listed above `join`, got {unknown[0].strip()}"
            )
        return body

    def _add(
        self, path: Path, importer: str, above: tuple[Path, ...]
    ) -> tuple[int, dict[str, str]]:
        """Join a module unless that was done; return its number and its exports."""
        if path in above:
            circle = " -> ".join(part.name for part in (*above[above.index(path) :], path))
            raise ModuleError(f"modules must not import each other in a circle, got {circle}")
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
    """Yield the name outside and the name inside for each of `one, two as second`."""
    for part in filter(None, map(str.strip, listed.split(","))):
        outside, _, inside = part.partition(" as ")
        yield outside, inside or outside
