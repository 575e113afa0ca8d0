"""Classifies tokens by their spelling alone, such as determiner, punctuation or later part of a word.

There is no part-of-speech tagger: an ambiguous word such as "her" or "that" always gets the class whose list below
holds it. The classes show patterns; they are no grammatical analysis.
"""

import re
from collections.abc import Sequence
from typing import Protocol

SPECIAL = "special token"
LINE_BREAK = "line break or space"
PUNCTUATION = "punctuation"
NUMBER = "number"
WORD_START = "first part of a word"
WORD_REST = "later part of a word"
BYTES = "part of a character"
NAME = "capitalised word"
OTHER = "other word"

_CLOSED = {
    "determiner": "a an the this that these those some any no every each all both many much few several another",
    "pronoun": "i me my mine myself you your yours yourself he him his himself she her hers herself it its itself we "
    "us our ours ourselves they them their theirs themselves who whom whose which what one someone something nothing "
    "everything everyone nobody anybody anything",
    "preposition": "of in to for with on at from by about as into like through after over between out against during "
    "without before under around among up down off near behind above across along upon beside towards toward",
    "conjunction": "and or but nor so yet if because than while when where until though although since whether",
    "auxiliary": "be am is are was were been being have has had having do does did will would can could may might "
    "shall should must 's 're 've 'll 'd 'm 't not",
}
_CLASS_OF = {word: name for name, words in _CLOSED.items() for word in words.split()}
CLASSES = (
    *_CLOSED,
    OTHER,
    NAME,
    WORD_START,
    WORD_REST,
    NUMBER,
    PUNCTUATION,
    LINE_BREAK,
    BYTES,
    SPECIAL,
)
FUNCTION_WORDS = tuple(_CLOSED)
_SENTENCE_END = re.compile(r"[.!?\n:][\"']?\s*$")


class TokenText(Protocol):
    """The part of a token that is classified: its decoded text, and whether it is a special token."""

    @property
    def text(self) -> str: ...

    @property
    def special(self) -> bool: ...


def token_classes(tokens: Sequence[TokenText]) -> list[str]:
    """Return one of `CLASSES` for each token of a text, in order."""
    begins = [_begins_word(tokens, index) for index in range(len(tokens))]
    classes = []
    before = ""
    for index, token in enumerate(tokens):
        is_cut = (
            index + 1 < len(tokens) and _is_letter_part(tokens[index + 1]) and not begins[index + 1]
        )
        starts_sentence = not before.strip() or bool(_SENTENCE_END.search(before))
        classes.append(_class_of(token, begins[index], is_cut, starts_sentence))
        before = "" if token.special else (before + token.text)[-8:]
    return classes


def _class_of(token: TokenText, begins: bool, is_cut: bool, first: bool) -> str:
    word, whole = token.text.strip(), begins and not is_cut
    if token.special:
        return SPECIAL
    if "\ufffd" in token.text:
        return BYTES
    if not word:
        return LINE_BREAK
    if not any(map(str.isalnum, word)):
        return PUNCTUATION
    if any(map(str.isdigit, word)):
        return NUMBER
    if word.lower() in _CLASS_OF and (whole or word.startswith("'")):
        return _CLASS_OF[word.lower()]
    if not whole:
        return WORD_START if begins else WORD_REST
    return NAME if word[0].isupper() and not first else OTHER


def _is_letter_part(token: TokenText) -> bool:
    """Whether the token begins with a letter or digit, and so may continue the token before it."""
    return not token.special and token.text[:1].isalnum()


def _begins_word(tokens: Sequence[TokenText], index: int) -> bool:
    token = tokens[index]
    if index == 0 or not _is_letter_part(token):
        return True
    before = tokens[index - 1]
    return before.special or not before.text[-1:].isalnum()
