"""The gallery: the prompts, texts and rules of the runs that `mor record` records for a checkpoint.

The texts resemble the training text of the bundled models, old children's stories, except in the runs that show how a
model handles other text.
"""

from dataclasses import dataclass
from typing import Literal

from mor_core.traces.presets import PRESETS

GROUPS = ("story", "copying", "dialogue", "lists", "names", "rare", "punctuation", "long", "rules")

_ONE_TEXT = (
    "The old clock in the hall struck nine, and still nobody came. Anna put down her book. "
    '"Perhaps they have lost their way," she said, and went to the window. Outside the snow was '
    "falling, softly and slowly, on the garden, on the gate and on the long white road."
)
_JACK = (
    "This is the house that Jack built.\n\n"
    "This is the malt that lay in the house that Jack built.\n\n"
    "This is the rat that ate the malt that lay in the house that Jack built.\n\n"
    "This is the cat that killed the rat that ate the malt that lay in the house that Jack built.\n\n"
    "This is the dog that worried the cat that killed the rat that ate the malt that lay in the house that Jack built."
)


@dataclass(frozen=True)
class GalleryRun:
    """One recorded run.

    Attributes:
        slug: the stem of its file name, and the key of its translated title.
        group: one of `GROUPS`, under which the app lists it.
        title: in English.
        note: what to look for, in English, one sentence.
        text: the prompt to continue, or the text to analyse.
        seeds: if not empty, the model first continues `text` once under each seed, and all continuations are analysed
            as one text.
        kind: as in a trace's header.
        routing: the routing rule, as written on the command line.
        max_new_tokens: for `generate` and `seeds`; `None` for the recorder's default.
    """

    slug: str
    group: str
    title: str
    note: str
    text: str
    kind: Literal["generate", "analyse"] = "generate"
    routing: str = "causal"
    max_new_tokens: int | None = None
    seeds: tuple[int, ...] = ()


_PRESET_GROUPS = (
    "story",
    "dialogue",
    "lists",
    "story",
    "story",
    "story",
    "copying",
    "names",
)


def slug_of(title: str) -> str:
    """Return the slug of a title, for file names."""
    return title.lower().replace(" ", "-")


GALLERY = (
    *(
        GalleryRun(slug_of(preset.title), group, preset.title, preset.note, preset.prompt)
        for preset, group in zip(PRESETS, _PRESET_GROUPS, strict=True)
    ),
    GalleryRun(
        "the-house-that-jack-built",
        "copying",
        "The house that Jack built",
        "A rhyme that repeats all it has said: compare a line with the line before it.",
        _JACK,
        "analyse",
    ),
    GalleryRun(
        "counting",
        "lists",
        "Counting",
        "Number words in their order: the next one is known, if the model has learned to count.",
        "One, two, three, four, five, six, seven, eight, nine, ten. One, two, buckle my shoe. Three, four, knock at "
        "the door. Five, six, pick up sticks. Seven, eight, lay them straight. Nine, ten, a big fat hen.",
        "analyse",
    ),
    GalleryRun(
        "question-and-answer",
        "dialogue",
        "Question and answer",
        "Short turns: look at the tokens after each closing quotation mark.",
        '"Who are you?"\n\n"I am the king."\n\n"And where is your crown?"\n\n"I left it at home," said the king.\n\n'
        '"Then how am I to know that you are the king?" asked the boy.\n\n"Ask my horse," said the king.',
        "analyse",
    ),
    GalleryRun(
        "foreign-names",
        "names",
        "Names from afar",
        "Names that fall into many tokens: which part of a name is deep?",
        "Scheherazade told Prince Ahmed of Nebuchadnezzar, King of Babylon. Then Prince Ahmed asked Scheherazade "
        "to tell him of Nebuchadnezzar again.",
        "analyse",
    ),
    GalleryRun(
        "rare-words",
        "rare",
        "Rare words",
        "Words that are seldom in old stories stand in pieces, beside everyday words that stand whole.",
        "The hippopotamus and the photographer discussed electricity. The dog and the girl went home. The "
        "telephone rang in the laboratory, and the professor forgot his umbrella.",
        "analyse",
    ),
    GalleryRun(
        "bytes",
        "rare",
        "Letters in bytes",
        "What the tokenizer has no token for is read byte by byte: other scripts, accents, a picture.",
        "The café sold crêpes. 从前有一只小兔子。 Жил-был кролик. 🐰 And the rabbit said good night.",
        "analyse",
    ),
    GalleryRun(
        "not-a-story",
        "rare",
        "Not a story",
        "A program, which no story looks like: how sure is the router where the model knows nothing?",
        "def add(a, b):\n    return a + b\n\nfor i in range(10):\n    print(add(i, 2 * i))\n",
        "analyse",
    ),
    GalleryRun(
        "punctuation",
        "punctuation",
        "Marks and dashes",
        "Many marks on few words: a mark often says that a word begins next.",
        '"Stop!" cried the boy; "stop, stop, I say!" But no -- the cart (it was old, red, and heavy) rolled on: '
        "down, down, down... Crash! Who was to blame? He, she, they? Nobody knew.",
        "analyse",
    ),
    GalleryRun(
        "full-context",
        "long",
        "Until the context is full",
        "A story of its own, as long as the model can hold: does the depth change with the position?",
        "Once upon a time, by the sea, there lived a fisherman and his wife.",
        "analyse",
        max_new_tokens=480,
        seeds=(0,),
    ),
    GalleryRun(
        "three-stories",
        "long",
        "Three stories in one",
        "Three generated stories read as one text, longer than the context: lines show where the next window begins.",
        "Once upon a time there was",
        "analyse",
        max_new_tokens=400,
        seeds=(1, 2, 3),
    ),
    GalleryRun(
        "one-text-causal",
        "rules",
        "One text, the model's rule",
        "Each token's own score against the threshold; the three other runs here read the same text.",
        _ONE_TEXT,
        "analyse",
    ),
    GalleryRun(
        "one-text-top-k",
        "rules",
        "One text, top-k",
        "The rule of training, which compares all tokens of the text and so sees what comes later.",
        _ONE_TEXT,
        "analyse",
        "top_k",
    ),
    GalleryRun(
        "one-text-random",
        "rules",
        "One text, chance",
        "A control: depths drawn by chance in the trained shares, whatever the token.",
        _ONE_TEXT,
        "analyse",
        "random",
    ),
    GalleryRun(
        "one-text-one-recursion",
        "rules",
        "One text, one recursion",
        "A control: every token stops after the first recursion.",
        _ONE_TEXT,
        "analyse",
        "fixed:1",
    ),
)
