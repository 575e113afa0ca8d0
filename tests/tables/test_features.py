"""About's table of features: every row is told in both languages, names pages that exist, and reasons."""

import pytest

from app.frame.header import ICONS
from app.tables import features
from app.tables.features import FEATURES
from app.text import words


@pytest.fixture(params=words.LANGUAGES)
def language(request, monkeypatch):
    monkeypatch.setattr(words._Asked, "language", staticmethod(lambda: request.param))
    return request.param


def test_every_feature_is_told_and_no_words_are_left_over(language):
    table = features.feature_table()
    assert len(table) == len(FEATURES) == 33
    assert (table.map(len) > 0).all().all()
    told = {key for key in words.entries() if key.startswith("features.") and key.endswith("_how")}
    assert told == {f"features.{name}_how" for name in FEATURES} | {"features.column_how"}
    assert len(set(table.iloc[:, 0])) == len(table)


def test_pages_exist_and_the_finding_counts_the_rows(language):
    for state, pages in FEATURES.values():
        assert set(pages) <= set(ICONS)
        assert state in ("done", "partly", "missing")
    states = list(features.feature_table().iloc[:, 1])
    for state in ("done", "partly", "missing"):
        count = states.count(words.say(f"features.state_{state}"))
        assert str(count) in features.finding()
