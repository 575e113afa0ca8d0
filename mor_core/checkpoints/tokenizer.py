"""Trains, saves and loads the byte-level BPE tokenizer, and turns text into ids.

Every UTF-8 string survives a round trip. The only special token starts a document. Text never encodes to it: if a user
types its name, the tokens of the single characters result.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

DOCUMENT_START = "<|endoftext|>"
"""Starts a document, and so ends the one before it. It serves as BOS, EOS and padding token."""
DOCUMENT_START_ID = 0

# GPT-2's pre-tokenization, except that a run of line breaks is one piece, so that a paragraph break is one token.
_PIECES = r"'(?:s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\n+|\s+(?!\S)|\s+"
_SMALLEST_VOCABULARY = 257  # 256 bytes and the special token
_LARGEST_VOCABULARY = 2**16  # a corpus keeps ids in 16 bits


def train_tokenizer(
    documents: Iterable[str], vocab_size: int | None, context_length: int, *, pieces: str = _PIECES
) -> PreTrainedTokenizerFast:
    """Train a tokenizer on documents; the same documents give the same tokenizer.

    Args:
        documents: texts.
        vocab_size: tokens, the 256 bytes and the special one included; `None` for as many as the documents fill.
        context_length: noted in the tokenizer.
        pieces: a regular expression; no token crosses the end of a piece.

    Raises:
        ValueError: `vocab_size` is too small for all bytes, or too large for the text.
    """
    if vocab_size is not None and vocab_size < _SMALLEST_VOCABULARY:
        raise ValueError(
            f"vocab_size must be at least {_SMALLEST_VOCABULARY} (256 bytes and one special token), got {vocab_size}"
        )
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pieces), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size or _LARGEST_VOCABULARY,
        special_tokens=[DOCUMENT_START],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(documents, trainer=trainer)
    if vocab_size is not None and core.get_vocab_size() != vocab_size:
        raise ValueError(
            f"vocab_size must be at most what the text can fill, {core.get_vocab_size()} tokens, got {vocab_size}; "
            "give more text or a smaller vocab_size"
        )
    return _wrap(core, context_length)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Load a folder that `save_tokenizer` wrote.

    Raises:
        ValueError: the folder has no tokenizer, or token 0 does not start a document.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ValueError(f"{path} is missing; a tokenizer folder holds a tokenizer.json")
    return _checked(PreTrainedTokenizerFast.from_pretrained(folder), str(path))


def named_tokenizer(name: str, vocab_size: int) -> PreTrainedTokenizerFast:
    """Load the tokenizer that a recipe names: a folder, or a name on the Hugging Face Hub.

    Raises:
        ValueError: there is no such tokenizer, its token 0 does not start a document, or it has more tokens than the
            model.
    """
    if Path(name).is_dir():
        tokenizer = load_tokenizer(Path(name))
    else:
        try:
            tokenizer = _checked(PreTrainedTokenizerFast.from_pretrained(name), name)
        except OSError as error:
            raise ValueError(
                f"[data] tokenizer must be a folder with a tokenizer.json or a name on the Hub, got {name!r}"
            ) from error
    check_vocabulary(tokenizer, vocab_size)
    return tokenizer


def _checked(tokenizer: PreTrainedTokenizerFast, source: str) -> PreTrainedTokenizerFast:
    if tokenizer.bos_token_id != DOCUMENT_START_ID:
        raise ValueError(
            f"{source} must have {DOCUMENT_START} as token 0, got {tokenizer.bos_token}"
        )
    return tokenizer


def check_vocabulary(tokenizer: PreTrainedTokenizerFast, vocab_size: int) -> None:
    """Refuse a tokenizer with more tokens than the model.

    Raises:
        ValueError: the tokenizer has more than `vocab_size` tokens.
    """
    if len(tokenizer) > vocab_size:
        raise ValueError(
            f"the tokenizer must have at most vocab_size={vocab_size} tokens, got {len(tokenizer)}; "
            "give the tokenizer that the model was trained with"
        )


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json."""
    tokenizer.save_pretrained(folder)


def encode_text(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """Return the token ids of a text, without special tokens even if the text contains the name of one."""
    # verbose=False: text longer than the context is fine here, since it is read in windows.
    ids: list[int] = tokenizer.encode(
        text, add_special_tokens=False, split_special_tokens=True, verbose=False
    )
    return ids


def encode_texts(
    tokenizer: PreTrainedTokenizerFast, texts: Iterable[str], batch_size: int = 256
) -> Iterator[list[int]]:
    """Yield what `encode_text` returns for each text, encoding `batch_size` texts at once on all cores."""
    core = tokenizer.backend_tokenizer
    before = core.encode_special_tokens
    core.encode_special_tokens = True
    try:
        batch: list[str] = []
        for text in texts:
            batch.append(text)
            if len(batch) == batch_size:
                yield from (
                    found.ids for found in core.encode_batch_fast(batch, add_special_tokens=False)
                )
                batch = []
        yield from (found.ids for found in core.encode_batch_fast(batch, add_special_tokens=False))
    finally:
        core.encode_special_tokens = before


def _wrap(core: Tokenizer, context_length: int) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=DOCUMENT_START,
        eos_token=DOCUMENT_START,
        pad_token=DOCUMENT_START,
        clean_up_tokenization_spaces=False,
        model_max_length=context_length,
        padding_side="left",
        split_special_tokens=True,
    )
