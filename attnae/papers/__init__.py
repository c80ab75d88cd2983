"""One folder per paper. Papers do not import each other."""
