"""A run as a page of its own: it holds the run and the words, and no token breaks out of the data."""

import json
import re

from mor_core.page.standalone import standalone_page
from mor_core.page.strip_files import PageWords
from mor_core.traces.trace import Trace
from tests.scripted import scripted_trace

WORDS = PageWords({"speed": {"en": "Speed", "zh": "速度"}}, ["damn"])
COLOURS = {levels: [f"#00000{level}" for level in range(levels)] for levels in range(1, 4)}


def page_of(trace: Trace) -> str:
    return standalone_page(trace, "zh", "zh-Hans", WORDS, COLOURS)


def test_page_of_a_run_holds_it_all_and_no_token_ends_its_script() -> None:
    trace = scripted_trace()
    trace.tokens[1].text = "</script><script>broken()"
    text = page_of(trace)
    assert text.count("</script>") == 2  # of the data and of the code
    held = json.loads(re.search(r'id="run-data">(\{.*\})</script>\n', text)[1])  # type: ignore[index]
    records = held["data"]["batch"]["events"][1]["completed"]
    assert [record["text"] for record in records] == [token.text for token in trace.tokens]
    assert not re.search(r"https?://", text)
    assert "export default" not in text


def test_page_speaks_the_words_and_shows_the_colours_that_it_is_given() -> None:
    text = page_of(scripted_trace())
    held = json.loads(re.search(r'id="run-data">(\{.*\})</script>\n', text)[1])  # type: ignore[index]
    assert (held["words"], held["hidden"]) == (WORDS.texts, WORDS.hidden)
    assert held["data"]["colours"] == {str(levels): scale for levels, scale in COLOURS.items()}
    assert held["data"]["language"] == "zh"
    assert '<html lang="zh-Hans">' in text
