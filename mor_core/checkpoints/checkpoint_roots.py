"""The folders that may hold checkpoints, set by MOR_CHECKPOINTS; the app reads no checkpoint outside them."""

import os
from pathlib import Path

from mor_core.checkpoints.checkpoint_files import CheckpointError

ROOT_VARIABLE = "MOR_CHECKPOINTS"
_MAX_LISTED = 20


def checkpoint_roots() -> list[Path]:
    """Return the allowed root folders; the first one holds the file `default`.

    MOR_CHECKPOINTS lists them, separated as in PATH. Without it, the only root is `checkpoints/` beside the code, or,
    if that does not exist, `checkpoints/` in the working directory.
    """
    named = [part for part in os.environ.get(ROOT_VARIABLE, "").split(os.pathsep) if part]
    if named:
        return list(dict.fromkeys(map(Path, named)))
    beside_code = Path(__file__).resolve().parents[2] / "checkpoints"
    return [beside_code if beside_code.is_dir() else Path("checkpoints")]


def checkpoint_root() -> Path:
    """Return the first of the allowed root folders."""
    return checkpoint_roots()[0]


def allowed_folder(text: str, roots: list[Path] | None = None) -> Path:
    """Return the folder that a viewer names, by an absolute path or by a path relative to a root.

    Symbolic links are resolved before the check, so that none leads outside the roots.

    Raises:
        CheckpointError: the folder is outside all roots or does not exist; the message lists what is allowed or there.
    """
    roots = checkpoint_roots() if roots is None else roots
    named = text.strip()
    if not named or "\0" in named:
        raise CheckpointError(
            "the folder must have a name, got none; type a path under a root", "folder_unnamed"
        )
    allowed = ", ".join(map(str, roots))
    try:
        tried = [(root / Path(named).expanduser()).resolve() for root in roots]
        checked = [(path, _is_under(path, roots)) for path in tried]
        for path, is_allowed in checked:
            if is_allowed and path.is_dir():
                return path
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"folder {named[:200]!r} cannot be read: {error}") from error
    if not any(is_allowed for _, is_allowed in checked):
        raise CheckpointError(
            f"folder must lie under {allowed}, got {named[:200]!r}; start the app with "
            f"{ROOT_VARIABLE} naming the folder above it",
            "folder_outside",
            allowed=allowed,
            named=repr(named[:200]),
            variable=ROOT_VARIABLE,
        )
    nearest = next(path for path, is_allowed in checked if is_allowed)
    raise CheckpointError(f"there is no folder {named[:200]!r}; {_list_siblings(nearest)}")


def _is_under(path: Path, roots: list[Path]) -> bool:
    return any(path.is_relative_to(root.resolve()) for root in roots)


def _list_siblings(path: Path) -> str:
    """Return a phrase that lists the folders beside a missing one."""
    parent = next((above for above in path.parents if above.is_dir()), None)
    if parent is None:
        return "its root does not exist either"
    folders = sorted(entry.name for entry in parent.iterdir() if entry.is_dir())
    names = ", ".join(name for name in folders[:_MAX_LISTED] if not name.startswith("."))
    return f"{parent} holds: {names or 'no folders'}"
