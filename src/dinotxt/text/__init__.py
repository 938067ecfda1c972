"""Words in: the tokenizer, prompt templates and lists of class names. No torch here."""
