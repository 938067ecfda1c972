"""The pool of pairs."""
