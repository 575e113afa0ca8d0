"""Puzzles whose answers need a known number of steps: pointer chains in short readable text.

    Given k=m c=7 m=c x=2 p=x     facts in random order; a letter points to a letter or to a digit
    Ask k? 7 p? 2                 k -> m -> c -> 7 takes 3 hops

A fact (" k=m") and a question (" k?") are one token each, so no layer is needed to put a fact together. Each question
begins a chain of its own, so that no answer helps with another, and the digits of a puzzle differ. A model whose keys
and values come from the embeddings does one lookup a recursion: k hops need at least k recursions.

Imports neither torch nor transformers: the app makes and solves puzzles without a model.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LETTERS = "abcdefghijklmnop"
DIGITS = "0123456789"
NUM_FACTS = 12
"""In a puzzle of the trained form."""
MAX_FACTS = len(LETTERS)
MAX_QUESTIONS = 8
TRAINED_HOPS = (1, 2, 3, 4)
_MAX_CHARACTERS = 2_000
_FORM = 'a puzzle reads "Given n=e e=6 ...", then on a new line "Ask n? ..."'


class PuzzleError(ValueError):
    """A text that is no puzzle: what is wrong, where, and what would be right."""


@dataclass(frozen=True)
class Question:
    """One question of a puzzle.

    Attributes:
        chain: from the letter asked about to the digit that answers, such as ("n", "e", "c", "6").
    """

    chain: tuple[str, ...]

    @property
    def name(self) -> str:
        """The letter asked about."""
        return self.chain[0]

    @property
    def answer(self) -> str:
        """The digit at the end of the chain."""
        return self.chain[-1]

    @property
    def hops(self) -> int:
        """Facts to follow from the letter to the digit."""
        return len(self.chain) - 1


@dataclass(frozen=True)
class Puzzle:
    """Facts and questions, in the order in which the text gives them.

    Attributes:
        facts: pairs of a letter and what it points to, each letter once.
        questions: with their chains.
    """

    facts: tuple[tuple[str, str], ...]
    questions: tuple[Question, ...]

    def text(self, *, answers: bool = True) -> str:
        """Write the puzzle as the models read it; without answers it ends with the first question."""
        return "".join(self.words() if answers else self.words()[: self.question_places()[0] + 1])

    def words(self) -> list[str]:
        """Return the pieces of text that are one token each, the document start left out."""
        given = [f" {letter}={target}" for letter, target in self.facts]
        asked = [word for each in self.questions for word in (f" {each.name}?", f" {each.answer}")]
        return ["Given", *given, "\n", "Ask", *asked]

    def question_places(self) -> list[int]:
        """Return where the questions stand among the words; in a token sequence each is one further on."""
        first = len(self.facts) + 3
        return [first + 2 * number for number in range(len(self.questions))]


def vocabulary() -> list[str]:
    """Return every word that a puzzle can hold."""
    facts = [f" {letter}={end}" for letter in LETTERS for end in LETTERS + DIGITS]
    return [
        *("Given", "\n", "Ask"),
        *(f" {letter}?" for letter in LETTERS),
        *(f" {digit}" for digit in DIGITS),
        *facts,
    ]


def make_puzzle(
    generator: np.random.Generator,
    hops: Sequence[int] = TRAINED_HOPS,
    num_facts: int = NUM_FACTS,
) -> Puzzle:
    """Draw a puzzle with one question for each number of hops, its facts and questions in random order.

    Facts beyond the chains are distractors: they point into a chain from outside, or to a digit of their own.

    Raises:
        PuzzleError: the facts cannot hold the chains, or the letters or digits do not suffice.
    """
    check_shape(hops, num_facts)
    letters = [LETTERS[place] for place in generator.permutation(len(LETTERS))]
    digits = [DIGITS[place] for place in generator.permutation(len(DIGITS))]
    facts: list[tuple[str, str]] = []
    questions: list[Question] = []
    for count in hops:
        chain = (*(letters.pop() for _ in range(count)), digits.pop())
        facts += itertools.pairwise(chain)
        questions.append(Question(chain))
    linked = [letter for letter, _ in facts]
    for _ in range(num_facts - len(facts)):
        ends_alone = bool(digits) and generator.random() < 0.5
        end = digits.pop() if ends_alone else linked[generator.integers(len(linked))]
        facts.append((letters.pop(), end))
    return Puzzle(
        tuple(facts[place] for place in generator.permutation(len(facts))),
        tuple(questions[place] for place in generator.permutation(len(questions))),
    )


def check_shape(hops: Sequence[int], num_facts: int) -> None:
    """Refuse puzzles that cannot be made.

    Raises:
        PuzzleError: names the field, the rule, the value and the remedy.
    """
    if not 1 <= len(hops) <= MAX_QUESTIONS:
        raise PuzzleError(f"hops must name 1 to {MAX_QUESTIONS} questions, got {len(hops)}")
    if min(hops) < 1:
        raise PuzzleError(f"hops must be at least 1 each, got {min(hops)}")
    if not sum(hops) <= num_facts <= MAX_FACTS:
        raise PuzzleError(
            f"facts must be at least the sum of the hops, {sum(hops)}, and at most the {MAX_FACTS} letters, "
            f"got {num_facts}"
        )


def read_puzzle(text: str) -> Puzzle:
    """Read a typed puzzle and solve it; answers in the text are not needed and not believed.

    Raises:
        PuzzleError: says which word is wrong and what would be right.
    """
    if len(text) > _MAX_CHARACTERS:
        raise PuzzleError(f"a puzzle has at most {_MAX_CHARACTERS:,} characters, got {len(text):,}")
    given, asked = _parts(text)
    facts: dict[str, str] = {}
    for word in given:
        letter, target = _fact(word)
        if letter in facts:
            raise PuzzleError(
                f"each letter points to one thing, got two facts for {letter}; leave one out"
            )
        facts[letter] = target
    names = [_asked_letter(word) for word in asked if word not in DIGITS]
    if not 1 <= len(names) <= MAX_QUESTIONS:
        raise PuzzleError(f"ask 1 to {MAX_QUESTIONS} questions, got {len(names)}")
    return Puzzle(tuple(facts.items()), tuple(Question(chain_of(facts, name)) for name in names))


def chain_of(facts: dict[str, str], name: str) -> tuple[str, ...]:
    """Follow the facts from a letter to a digit.

    Raises:
        PuzzleError: the chain ends in a letter or runs in a circle.
    """
    chain = [name]
    while chain[-1] not in DIGITS:
        if chain[-1] not in facts:
            raise PuzzleError(
                f'"{name}?" cannot be answered: no fact says what {chain[-1]} is; add "{chain[-1]}=..."'
            )
        target = facts[chain[-1]]
        if target in chain:
            circle = " -> ".join([*chain, target])
            raise PuzzleError(
                f'"{name}?" cannot be answered: {circle} runs in a circle; let one point to a digit'
            )
        chain.append(target)
    return tuple(chain)


def _parts(text: str) -> tuple[list[str], list[str]]:
    """Return the words between Given and Ask, and those after Ask."""
    words = text.split()
    if not words or words[0] != "Given":
        raise PuzzleError(
            f'{_FORM}; the first word must be "Given", got {_shown(words[0] if words else "")}'
        )
    if "Ask" not in words:
        raise PuzzleError(f'{_FORM}; the word "Ask" is missing')
    place = words.index("Ask")
    return words[1:place], words[place + 1 :]


def _fact(word: str) -> tuple[str, str]:
    match = re.fullmatch(r"(.)=(.)", word)
    if match is None:
        raise PuzzleError(f'a fact reads like "n=e" or "n=6", got {_shown(word)}')
    letter, target = match.groups()
    if letter not in LETTERS or target not in LETTERS + DIGITS:
        raise PuzzleError(f"letters go from {LETTERS[0]} to {LETTERS[-1]}, got {_shown(word)}")
    return letter, target


def _asked_letter(word: str) -> str:
    if len(word) != 2 or word[1] != "?":
        raise PuzzleError(f'a question reads like "n?", got {_shown(word)}')
    if word[0] not in LETTERS:
        raise PuzzleError(f"letters go from {LETTERS[0]} to {LETTERS[-1]}, got {_shown(word)}")
    return word[0]


def _shown(word: str) -> str:
    return repr(word if len(word) <= 20 else f"{word[:20]}...")
