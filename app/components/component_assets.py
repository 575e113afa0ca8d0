"""Serves a component's code to the browser as files, because Streamlit resends inline code with every rerun.

Streamlit serves the asset folders that installed packages declare in their pyproject.toml. Our code is assembled from
words and shared scripts when the app starts, so the asset folder is created then and registered through the same API.
"""

import functools
import hashlib
import tempfile
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit import runtime
from streamlit.components.v2.get_bidi_component_manager import get_bidi_component_manager
from streamlit.components.v2.manifest_scanner import ComponentConfig, ComponentManifest

_PACKAGE, _ASSETS = "mor", "assets"


class AssetComponent:
    """A component whose style sheet and code the browser fetches once."""

    def __init__(self, name: str, *, html: str, css: str, js: str) -> None:
        self.name = f"{_PACKAGE}.{name}"
        self._html = html
        self._manifest = ComponentManifest(_PACKAGE, "1", [ComponentConfig(name, _ASSETS)])
        self._root = tempfile.TemporaryDirectory(
            prefix="mor-component-"
        )  # removed when the server ends
        self._css, self._js = self._write(f"{name}.css", css), self._write(f"{name}.js", js)

    def __call__(self, **options: Any) -> Any:
        """Mount the component; the options are those of `st.components.v2.component`'s result."""
        if not runtime.exists():  # the script runs as plain Python, without a server
            return st.components.v2.component(self.name, html=self._html)(**options)
        manager = get_bidi_component_manager()
        if manager.get_component_asset_root(self.name) is None:  # once per server
            manager.register_from_manifest(self._manifest, Path(self._root.name))
        return self._mount(**options)

    @functools.cached_property
    def _mount(self) -> Any:
        return st.components.v2.component(self.name, html=self._html, css=self._css, js=self._js)

    def _write(self, name: str, text: str) -> str:
        """Write a file and return its name, which contains a hash so that browsers do not use an outdated copy."""
        stem, _, suffix = name.partition(".")
        hashed = f"{stem}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.{suffix}"
        folder = Path(self._root.name) / _ASSETS
        folder.mkdir(exist_ok=True)
        (folder / hashed).write_text(text, encoding="utf-8")
        return hashed
