"""Shared fixtures: a tokenizer trained on a paragraph, and a checkpoint folder with a small random model."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

STORY = (
    "Once upon a time there was a little rabbit who lived under an old oak tree. "
    'Every morning he said to his mother, "May I go to the garden?" and every morning she '
    'answered, "Stay near the gate, my dear, and come home before the sun is high." '
    "But the rabbit was bold, and the carrots were sweet, and the gate was not so very far away."
)


def pytest_configure(config):
    """Set torch's number of threads before its first import; the processes of `-n` inherit it.

    More than two threads slow tiny models down, and with one process per core they would compete.
    """
    in_parallel = config.getoption("numprocesses", None)
    os.environ.setdefault("OMP_NUM_THREADS", "1" if in_parallel else "2")


@pytest.fixture(scope="session")
def tiny_tokenizer():
    from mor_core.checkpoints.tokenizer import train_tokenizer

    return train_tokenizer([STORY], 300, 64)


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_tokenizer, tmp_path_factory):
    """The folder of a checkpoint named `tiny`: 3 recursions, context 64, random weights."""
    from mor_core.checkpoints.checkpoint import save_checkpoint
    from tests.models import tiny_model

    root = tmp_path_factory.mktemp("checkpoints")
    save_checkpoint(root / "tiny", tiny_model(vocab_size=300), tiny_tokenizer)
    return root / "tiny"


@pytest.fixture(scope="session")
def tiny_loaded(tiny_checkpoint):
    from mor_core.checkpoints.checkpoint import load_checkpoint

    return load_checkpoint(tiny_checkpoint)


@pytest.fixture
def workspace(tmp_path):
    """A folder with texts and the recipe of a training run that takes a second."""
    from tests.tiny_run import write_workspace

    return write_workspace(tmp_path)


@pytest.fixture
def mor(monkeypatch, capsys, tiny_checkpoint):
    """A function that runs `mor` in this process and returns exit status, output and errors."""
    import sys

    from mor_core.cli import cli

    monkeypatch.setenv("MOR_CHECKPOINTS", str(tiny_checkpoint.parent))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["mor", *map(str, arguments)])
        status = 0
        try:
            cli.main()
        except SystemExit as ended:
            status = ended.code or 0
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def family_root(tiny_tokenizer, tmp_path_factory):
    """A folder with two evaluated checkpoints and their family.json; tests must not change it."""
    from tests.tiny_family import write_tiny_family

    return write_tiny_family(tmp_path_factory.mktemp("family"), tiny_tokenizer)
