"""Example prompts, for the app, the gallery and the samples of a checkpoint.

They resemble the training text of the bundled models, old children's stories.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """A prompt, its title and a note on what to look for."""

    title: str
    prompt: str
    note: str


PRESETS = (
    Preset(
        "A little rabbit",
        "Once upon a time there was a little rabbit who",
        "The commonest opening. Compare the depth of small words, nouns and verbs.",
    ),
    Preset(
        "Two voices",
        '"Where are you going?" asked the fox.\n\n"I am going',
        "Dialogue: quotation marks, commas and the verbs of saying.",
    ),
    Preset(
        "A list of animals",
        "In the barn lived a cow, a horse, a pig, a hen,",
        "A pattern that repeats: does a token cost less when its place is predictable?",
    ),
    Preset(
        "The old king",
        "Long ago, in a country far away, there lived an old king who had three sons. The eldest",
        "A longer prompt: the model has more to look back on.",
    ),
    Preset(
        "The magic ring",
        "The girl put the ring on her finger, and at once",
        "A cause and its effect: where does the surprise fall?",
    ),
    Preset(
        "A stormy night",
        "It was a dark and stormy night. The wind howled, and the old house",
        "Description: adjectives before their nouns.",
    ),
    Preset(
        "The same words again",
        "The cat sat on the mat. The cat sat on the mat. The cat sat on the",
        "Copying: the same words at different places, and their depths.",
    ),
    Preset(
        "Names",
        "Peter and Jane went to the market with their mother. Peter wanted",
        "Names that return later in the text.",
    ),
)
