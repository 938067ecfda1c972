"""Tokenizers: CLIP's byte-pair encoding and any Hugging Face ``tokenizer.json``.

The ids equal those of ``open_clip.tokenizer.SimpleTokenizer``.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ftfy
import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import Regex, models, pre_tokenizers, processors

from dinotxt.errors import ConfigError, DataError
from dinotxt.files import atomic_path
from dinotxt.text.published import published_lines

CONTEXT_LENGTH = 77
_START, _END = "<start_of_text>", "<end_of_text>"
# As open_clip's, which drops U+0345: its matching without case takes it for neither class.
_WORDS = (
    r"(?i)<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}"
    r"|[^\s\p{L}\p{N}\x{345}]+"
)


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Token ids of several texts.

    Attributes:
        ids: int64 ``[N, L]``, padded on the right.
        lengths: int64 ``[N]``, the number of real tokens, the start and end tokens included.
        pad_id: The id that fills the rest.
    """

    ids: NDArray[np.int64]
    lengths: NDArray[np.int64]
    pad_id: int = 0

    def __len__(self) -> int:
        return len(self.lengths)

    def pad_to(self, length: int) -> NDArray[np.int64]:
        """Return the ids as ``[N, length]``.

        Raises:
            ConfigError: If a text is longer than ``length``.
        """
        num_texts, width = self.ids.shape
        if width > length:
            raise ConfigError(f"{width} tokens do not fit in {length}: raise the length.")
        padded = np.full((num_texts, length), self.pad_id, dtype=np.int64)
        padded[:, :width] = self.ids
        return padded


class Tokenizer:
    """Turns texts into token ids, truncated to ``context_length``.

    Attributes:
        context_length: The largest number of tokens of a text; the last one stays the end token.
        vocab_size: The number of ids.
        pad_id: The id that fills a batch.
    """

    def __init__(self, backend: tokenizers.Tokenizer, context_length: int = CONTEXT_LENGTH) -> None:
        """Wrap a Hugging Face tokenizer that adds its own start and end tokens."""
        if context_length < 3:
            raise ConfigError(f"context_length must be at least 3, not {context_length}.")
        padding = backend.padding
        self.context_length = context_length
        self.pad_id = int(padding["pad_id"]) if padding else 0
        self.vocab_size = int(backend.get_vocab_size(with_added_tokens=True))
        self._backend = backend
        self._is_clip = backend.token_to_id(_END) is not None
        backend.no_padding()
        backend.enable_truncation(context_length)

    @classmethod
    def clip(cls, context_length: int = CONTEXT_LENGTH) -> "Tokenizer":
        """Build CLIP's tokenizer: 49,408 ids, lower-cased, start 49406, end 49407, padding 0.

        Raises:
            BackendError: If open_clip, whose vocabulary file is read, is not installed.
        """
        return cls(_clip_backend(_clip_merges()), context_length)

    @classmethod
    def from_file(cls, path: str | Path, context_length: int | None = None) -> "Tokenizer":
        """Read a Hugging Face ``tokenizer.json``, such as one that ``save`` wrote.

        Args:
            path: The file.
            context_length: None takes the truncation of the file, or 77 where it has none.

        Raises:
            DataError: If the file is missing or is not a tokenizer.
        """
        try:
            backend = tokenizers.Tokenizer.from_str(Path(path).read_text("utf-8"))
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror}).") from None
        except Exception as error:  # the library raises bare Exception
            raise DataError(f"{path} is not a Hugging Face tokenizer.json: {error}.") from error
        truncation = backend.truncation
        stored = int(truncation["max_length"]) if truncation else CONTEXT_LENGTH
        return cls(backend, stored if context_length is None else context_length)

    def save(self, path: str | Path) -> None:
        """Write a ``tokenizer.json`` (atomically) that ``from_file`` reads back as it is."""
        self._backend.enable_padding(pad_id=self.pad_id)
        content = self._backend.to_str()
        self._backend.no_padding()
        with atomic_path(path) as temporary:
            temporary.write_text(content, "utf-8")

    def __call__(self, texts: str | Sequence[str]) -> TokenBatch:
        """Tokenize texts into a batch as wide as the longest of them."""
        cleaned = [self._clean(text) for text in ([texts] if isinstance(texts, str) else texts)]
        rows = [encoding.ids for encoding in self._backend.encode_batch_fast(cleaned)]
        if self._is_clip:
            for position, text in enumerate(cleaned):
                if _START in text or _END in text:
                    rows[position] = self._encode_with_specials(text)
        lengths = np.fromiter((len(row) for row in rows), dtype=np.int64, count=len(rows))
        width = int(lengths.max(initial=0))
        ids = np.full((len(rows), width), self.pad_id, dtype=np.int64)
        if rows:
            ids[np.arange(width) < lengths[:, None]] = np.concatenate(rows)
        return TokenBatch(ids, lengths, self.pad_id)

    def _clean(self, text: str) -> str:
        if self._is_clip:
            return _clip_clean(text)
        if text.isascii():
            return text
        return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")

    def _encode_with_specials(self, text: str) -> list[int]:
        """Encode a text that spells out a special token, which open_clip takes as that token."""
        special = {token: int(self._backend.token_to_id(token) or 0) for token in (_START, _END)}
        ids = [special[_START]]
        for piece, _ in self._backend.pre_tokenizer.pre_tokenize_str(text):
            known = special.get(piece)
            ids += [known] if known else [t.id for t in self._backend.model.tokenize(piece)]
        return [*ids[: self.context_length - 1], special[_END]]


def _clip_clean(text: str) -> str:
    """Clean as open_clip does; plain ASCII needs neither ftfy nor unescaping."""
    if not (text.isascii() and text.isprintable() and "&" not in text):
        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()


def _clip_merges() -> list[tuple[str, str]]:
    """Read CLIP's 48,894 merges."""
    pairs = (line.split() for line in published_lines("clip-merges.txt.gz"))
    return [(first, second) for first, second in pairs]


def _clip_backend(merges: list[tuple[str, str]]) -> tokenizers.Tokenizer:
    alphabet = _byte_alphabet()
    tokens = [*alphabet, *(letter + "</w>" for letter in alphabet)]
    tokens += ["".join(pair) for pair in merges]
    tokens += [_START, _END]
    vocab = {token: index for index, token in enumerate(tokens)}
    backend = tokenizers.Tokenizer(models.BPE(vocab, merges, end_of_word_suffix="</w>"))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.post_processor = processors.TemplateProcessing(
        single=f"{_START} $A {_END}",
        special_tokens=[(_START, vocab[_START]), (_END, vocab[_END])],
    )
    return backend


def _byte_alphabet() -> list[str]:
    """Return one printable character a byte, in the order of CLIP's vocabulary."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(byte) for byte in printable] + [chr(256 + n) for n in range(256 - len(printable))]
