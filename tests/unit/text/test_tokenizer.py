import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers, processors

from dinotxt.errors import ConfigError, DataError
from dinotxt.text.tokenizer import Tokenizer

HOSTILE = [
    "",
    "   \n\t ",
    "a photo of a dog",
    "  A  Dog\nand a CAT!! ",
    "<end_of_text>",
    "a dog<end_of_text>and <START_OF_TEXT> more",
    "stop!!<end_of_text>",
    "<|endoftext|> <|startoftext|>",
    "caf\u00e9 &amp;amp; it&#39;s &lt;b&gt;",
    "\x00nul\x00 and \x1b[31mcolour\x1b[0m",
    "\x0bvertical\x0cfeed\x1cseparator\x85next",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 family",
    "lone \ud800 surrogate, pair \ud83d\ude00",
    "don\u2019t \u201cquote\u201d caf\xc3\xa9 \u2014 mojibake \u00e2\u20ac\u2122",
    "\u0130stanbul \u017f it'\u017f IT'S",
    "\u65e5\u672c\u8a9e \u09e7\u09e8\u09e9 \u00bd \u00b2 \ufb01",
    "dog " * 10_000,
    "x" * 500,
    "combining \u0345 iota .\u0345. a\u0345b",
    "'s 't 're 've 'm 'll 'd ''s",
]


@pytest.fixture(scope="module")
def clip() -> Tokenizer:
    return Tokenizer.clip()


@pytest.fixture(scope="module")
def oracle() -> Any:
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_ids_equal_open_clip_on_hostile_texts(clip: Tokenizer, oracle: Any, text: str) -> None:
    np.testing.assert_array_equal(clip(text).pad_to(77), oracle([text]).numpy())


@settings(max_examples=150)
@given(text=st.text(st.characters(exclude_categories=["Cn"]), max_size=60))
def test_ids_equal_open_clip_on_any_assigned_characters(
    clip: Tokenizer, oracle: Any, text: str
) -> None:
    np.testing.assert_array_equal(clip(text).pad_to(77), oracle([text]).numpy())


def test_batch_is_as_wide_as_its_longest_text(clip: Tokenizer) -> None:
    batch = clip(["a dog", "", "a dog in a red house"])
    assert batch.lengths.tolist() == [4, 2, 8]
    assert batch.ids.shape == (3, 8)
    assert batch.ids[1].tolist() == [49406, 49407, 0, 0, 0, 0, 0, 0]
    assert len(batch) == 3


def test_every_row_ends_with_the_end_token_and_zeros(clip: Tokenizer) -> None:
    batch = clip(HOSTILE)
    rows = np.arange(len(batch))
    assert (batch.ids[rows, batch.lengths - 1] == 49407).all()
    assert (batch.ids[np.arange(batch.ids.shape[1]) >= batch.lengths[:, None]] == 0).all()


def test_long_text_is_cut_to_the_context_length() -> None:
    batch = Tokenizer.clip(context_length=16)("dog " * 10_000)
    assert batch.lengths.tolist() == [16]
    assert batch.ids[0, -1] == 49407


def test_no_text_gives_an_empty_batch(clip: Tokenizer) -> None:
    assert clip([]).ids.shape == (0, 0)


def test_padding_to_less_than_the_batch_is_refused(clip: Tokenizer) -> None:
    with pytest.raises(ConfigError, match="do not fit in 3"):
        clip("a big dog").pad_to(3)


def test_saved_tokenizer_reads_back_the_same(clip: Tokenizer, tmp_path: Path) -> None:
    clip.save(tmp_path / "tokenizer.json")
    again = Tokenizer.from_file(tmp_path / "tokenizer.json")
    np.testing.assert_array_equal(again(HOSTILE).ids, clip(HOSTILE).ids)
    assert (again.context_length, again.vocab_size, again.pad_id) == (77, 49408, 0)


def test_foreign_tokenizer_keeps_its_padding_and_truncation(tmp_path: Path) -> None:
    vocab = {"[PAD]": 3, "[CLS]": 0, "[SEP]": 1, "[UNK]": 2, "dog": 4}
    backend = tokenizers.Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 0), ("[SEP]", 1)]
    )
    backend.enable_padding(pad_id=3, length=100)
    backend.enable_truncation(5)
    backend.save(str(tmp_path / "t.json"))
    tokenizer = Tokenizer.from_file(tmp_path / "t.json")
    batch = tokenizer(["dog dog dog dog dog dog", "Dog \ud800"])
    assert batch.ids.tolist() == [[0, 4, 4, 4, 1], [0, 2, 2, 1, 3]]
    assert (
        Tokenizer.from_file(tmp_path / "t.json", context_length=4)("dog dog dog").ids.shape[1] == 4
    )
    tokenizer.save(tmp_path / "again.json")
    assert Tokenizer.from_file(tmp_path / "again.json").pad_id == 3


def test_file_that_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text(json.dumps({"model": 1}))
    with pytest.raises(DataError, match=r"is not a Hugging Face tokenizer\.json"):
        Tokenizer.from_file(tmp_path / "bad.json")
    with pytest.raises(DataError, match="cannot be read"):
        Tokenizer.from_file(tmp_path / "missing.json")


def test_context_too_short_for_any_word_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 3"):
        Tokenizer.clip(context_length=2)


def test_clip_tokenizer_imports_neither_open_clip_nor_torch() -> None:
    code = (
        "import sys; from dinotxt.text.tokenizer import Tokenizer; Tokenizer.clip();"
        "assert not {'torch', 'open_clip', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
