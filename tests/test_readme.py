"""What the README shows runs as it stands there."""

import re
import tomllib
from pathlib import Path

from mor_core.checkpoints.checkpoint import checkpoint_root, list_checkpoints

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
TESTS = {path.name: path for path in (ROOT / "tests").rglob("test_*.py")}


def test_python_blocks_run(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert "None" in lines[-1]  # the newest token has no depth yet
    assert any(re.search(r" [123] \[", line) for line in lines[:-1])


def test_named_files_exist():
    names = set(re.findall(r"\]\(((?!http)[^)]+)\)", README))
    names |= set(re.findall(r"`(test_\w+\.py)(?:::\w+)?`", README))
    for name in names:
        assert name in TESTS or (ROOT / name).exists(), name


def test_what_proves_a_point_is_a_test():
    proofs = re.findall(r"`(test_\w+\.py)::(\w+)`", README)
    assert len(proofs) > 10
    for file, name in proofs:
        assert f"\ndef {name}(" in TESTS[file].read_text(encoding="utf-8"), name


def test_commands_exist():
    from typer.main import get_command

    from mor_core.cli.cli import app

    known = set(get_command(app).commands)
    named = set(re.findall(r"^mor ([\w-]+)", README, flags=re.MULTILINE))
    assert named
    assert named <= known
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"mor": "mor_core.cli.cli:main"}


def test_default_checkpoint_is_bundled():
    named = (checkpoint_root() / "default").read_text().strip()
    assert list_checkpoints()[0].name == named
