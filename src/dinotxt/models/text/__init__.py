"""The word side: text encoders from scratch and pretrained ones."""

from dinotxt.models.text.pretrained_text import PretrainedTextEncoder
from dinotxt.models.text.text_encoder import TextBlock, TextEncoder

__all__ = ["PretrainedTextEncoder", "TextBlock", "TextEncoder"]
