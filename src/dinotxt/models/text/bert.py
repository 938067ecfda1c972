"""BERT encoders from a Hugging Face folder, without importing transformers.

transformers' own class costs more than a second of every new process. The names of the modules
are those of the published files, so weights, hashes and low-rank updates mean the same for both.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dinotxt.files import read_json
from dinotxt.models.weights import StateDict, read_state_dict

_WEIGHTS = "model.safetensors"
_PREFIX = "bert."
_POOLER = "pooler."


@dataclass(frozen=True, slots=True, kw_only=True)
class BertConfig:
    """Sizes of a BERT encoder, named as in its ``config.json``."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    hidden_dropout_prob: float = 0.1


class BertOutput(NamedTuple):
    """The tokens [B, L, H] after the last layer."""

    last_hidden_state: Tensor


class Bert(nn.Module):
    """The encoder of BERT (Devlin et al. 2018): post-norm, exact GELU, absolute positions.

    Args:
        config: Its sizes.
        has_pooler: Whether the file holds BERT's pooler, which is not used: it belongs to the
            hash of the frozen weights.
    """

    def __init__(self, config: BertConfig, *, has_pooler: bool) -> None:
        super().__init__()
        self.config = config
        self.embeddings = _Embeddings(config)
        layers = nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))
        self.encoder = nn.ModuleDict({"layer": layers})
        if has_pooler:
            width = config.hidden_size
            self.pooler = nn.ModuleDict({"dense": nn.Linear(width, width)})

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> BertOutput:
        """Encode token ids [B, L]; a mask [B, L], or one that spreads to [B, heads, L, L]."""
        if attention_mask is not None:
            attention_mask = attention_mask.bool()
            if attention_mask.ndim == 2:
                attention_mask = attention_mask[:, None, None, :]
        tokens = self.embeddings(input_ids)
        for layer in self.encoder["layer"].children():
            tokens = layer(tokens, attention_mask)
        return BertOutput(tokens)


class _Embeddings(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.word_embeddings = nn.Embedding(config.vocab_size, width)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, width)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, width)
        self.LayerNorm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, input_ids: Tensor) -> Tensor:
        words = self.word_embeddings(input_ids) + self.token_type_embeddings.weight[0]
        tokens = words + self.position_embeddings.weight[: input_ids.shape[1]]
        return self.dropout(self.LayerNorm(tokens))  # type: ignore[no-any-return]


class _Layer(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        width, hidden = config.hidden_size, config.intermediate_size
        self.attention = nn.ModuleDict(
            {"self": _SelfAttention(config), "output": _Residual(width, config)}
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, hidden)})
        self.output = _Residual(hidden, config)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        tokens = self.attention["output"](self.attention["self"](tokens, mask), tokens)
        return self.output(F.gelu(self.intermediate["dense"](tokens)), tokens)  # type: ignore[no-any-return]


class _SelfAttention(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.num_attention_heads = config.num_attention_heads
        width = config.hidden_size
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        parts = (self.query(tokens), self.key(tokens), self.value(tokens))
        shape = (self.num_attention_heads, -1)
        query, key, value = (part.unflatten(-1, shape).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return mixed.transpose(1, 2).flatten(2)


class _Residual(nn.Module):
    def __init__(self, width: int, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, update: Tensor, tokens: Tensor) -> Tensor:
        return self.LayerNorm(self.dropout(self.dense(update)) + tokens)  # type: ignore[no-any-return]


def load_bert(folder: Path) -> Bert | None:
    """Load a folder that holds a plain BERT in safetensors; None for anything else.

    Raises:
        CheckpointError: If its weights are damaged.
    """
    settings = folder / "config.json"
    if not settings.is_file() or not (folder / _WEIGHTS).is_file():
        return None
    content = read_json(settings)
    if not _is_plain(content):
        return None
    names = {field.name for field in fields(BertConfig)}
    config = BertConfig(**{key: value for key, value in content.items() if key in names})
    state = _without_prefix(read_state_dict(folder / _WEIGHTS))
    with torch.device("meta"):
        model = Bert(config, has_pooler=f"{_POOLER}dense.weight" in state)
    expected = model.state_dict()
    if any(key not in state or state[key].shape != expected[key].shape for key in expected):
        return None
    model.load_state_dict({key: state[key] for key in expected}, assign=True)
    return model


def _is_plain(content: Any) -> bool:
    """Tell if ``config.json`` describes the encoder that is written here."""
    usual = {
        "model_type": "bert",
        "hidden_act": "gelu",
        "position_embedding_type": "absolute",
        "is_decoder": False,
    }
    return content.get("model_type") == "bert" and all(
        content.get(key, value) == value for key, value in usual.items()
    )


def _without_prefix(state: StateDict) -> StateDict:
    return {key.removeprefix(_PREFIX): value for key, value in state.items()}
