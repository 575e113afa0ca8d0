"""Puzzles whose answers need a known number of lookups: pointer chains in short readable text.

    Given k=m c=7 m=c x=2 p=x     facts in random order; a letter points to a letter or to a digit
    Ask k? 7 p? 2                 k -> m -> c -> 7 takes 3 hops

A fact (" k=m") and a question (" k?") are one token each, so the model needs no layer to assemble a fact. Each question
starts a separate chain, so that no answer helps with another, and the digits of a puzzle differ. A model whose keys
and values come from the embeddings does one lookup per recursion: k hops need at least k recursions.

This module imports neither torch nor transformers, since the app makes and solves puzzles without a model.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LETTERS = "abcdefghijklmnop"
DIGITS = "0123456789"
NUM_FACTS = 12
"""Facts in a training puzzle."""
MAX_FACTS = len(LETTERS)
MAX_QUESTIONS = 8
TRAINED_HOPS = (1, 2, 3, 4)
_MAX_CHARACTERS = 2_000
_FORM = 'a puzzle reads "Given n=e e=6 ...", then on a new line "Ask n? ..."'


class PuzzleError(ValueError):
    """The text or the numbers give no valid puzzle; the message says what is wrong and what would be right."""


@dataclass(frozen=True)
class Question:
    """One question of a puzzle.

    Attributes:
        chain: nodes from the letter in the question to the digit that answers it, such as ("n", "e", "c", "6").
    """

    chain: tuple[str, ...]

    @property
    def name(self) -> str:
        """The letter in the question."""
        return self.chain[0]

    @property
    def answer(self) -> str:
        """The digit at the end of the chain."""
        return self.chain[-1]

    @property
    def hops(self) -> int:
        """Number of facts to follow from the letter to the digit."""
        return len(self.chain) - 1


@dataclass(frozen=True)
class Puzzle:
    """Facts and questions, in the order of the text.

    Attributes:
        facts: pairs of a letter and the letter or digit that it points to; each letter has one fact.
        questions: the questions with their chains.
    """

    facts: tuple[tuple[str, str], ...]
    questions: tuple[Question, ...]

    def text(self, *, answers: bool = True) -> str:
        """Return the puzzle as the models read it; without answers, the text ends with the first question."""
        return "".join(self.words() if answers else self.words()[: self.question_indices()[0] + 1])

    def words(self) -> list[str]:
        """Return the words of the text, one token each, without the document start."""
        given = [f" {letter}={target}" for letter, target in self.facts]
        questions = [
            word for each in self.questions for word in (f" {each.name}?", f" {each.answer}")
        ]
        return ["Given", *given, "\n", "Ask", *questions]

    def question_indices(self) -> list[int]:
        """Return the indices of the questions in `words()`; with the document start, token positions are one higher."""
        first = len(self.facts) + 3
        return [first + 2 * number for number in range(len(self.questions))]


def vocabulary() -> list[str]:
    """Return every word that can occur in a puzzle."""
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
    """Draw a puzzle with one question for each entry of `hops`, its facts and questions in random order.

    The facts beyond the chains are distractors: a new letter points to a letter of a chain or of another distractor,
    or to an unused digit.

    Raises:
        PuzzleError: there are too few facts for the chains, or too few letters or digits.
    """
    check_shape(hops, num_facts)
    letters = [LETTERS[index] for index in generator.permutation(len(LETTERS))]
    digits = [DIGITS[index] for index in generator.permutation(len(DIGITS))]
    facts: list[tuple[str, str]] = []
    questions: list[Question] = []
    for count in hops:
        chain = (*(letters.pop() for _ in range(count)), digits.pop())
        facts += itertools.pairwise(chain)
        questions.append(Question(chain))
    linked = [letter for letter, _ in facts]
    for _ in range(num_facts - len(facts)):
        has_own_digit = bool(digits) and generator.random() < 0.5
        end = digits.pop() if has_own_digit else linked[generator.integers(len(linked))]
        facts.append((letters.pop(), end))
    return Puzzle(
        tuple(facts[index] for index in generator.permutation(len(facts))),
        tuple(questions[index] for index in generator.permutation(len(questions))),
    )


def check_shape(hops: Sequence[int], num_facts: int) -> None:
    """Check that puzzles with these hops and this number of facts exist.

    Raises:
        PuzzleError: they do not; the message names field, rule, value and remedy.
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
    """Parse a puzzle that a user typed and solve it; answers in the text are optional and ignored.

    Raises:
        PuzzleError: the text is not a valid puzzle; the message says which word is wrong and what would be right.
    """
    if len(text) > _MAX_CHARACTERS:
        raise PuzzleError(f"a puzzle has at most {_MAX_CHARACTERS:,} characters, got {len(text):,}")
    given, questions = _split(text)
    facts: dict[str, str] = {}
    for word in given:
        letter, target = _fact(word)
        if letter in facts:
            raise PuzzleError(
                f"each letter points to one thing, got two facts for {letter}; leave one out"
            )
        facts[letter] = target
    names = [_asked_letter(word) for word in questions if word not in DIGITS]
    if not 1 <= len(names) <= MAX_QUESTIONS:
        raise PuzzleError(f"ask 1 to {MAX_QUESTIONS} questions, got {len(names)}")
    return Puzzle(tuple(facts.items()), tuple(Question(chain_of(facts, name)) for name in names))


def chain_of(facts: dict[str, str], name: str) -> tuple[str, ...]:
    """Follow the facts from a letter to a digit.

    Raises:
        PuzzleError: the chain ends in a letter or forms a cycle.
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


def _split(text: str) -> tuple[list[str], list[str]]:
    """Return the words between Given and Ask, and those after Ask."""
    words = text.split()
    if not words or words[0] != "Given":
        raise PuzzleError(
            f'{_FORM}; the first word must be "Given", got {_shown(words[0] if words else "")}'
        )
    if "Ask" not in words:
        raise PuzzleError(f'{_FORM}; the word "Ask" is missing')
    ask = words.index("Ask")
    return words[1:ask], words[ask + 1 :]


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
