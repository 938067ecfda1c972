"""WordNet: the names of its synsets, and what they are to each other."""

from dinotxt.text.wordnet.names import wordnet_names, wordnet_nouns

__all__ = ["wordnet_names", "wordnet_nouns"]
