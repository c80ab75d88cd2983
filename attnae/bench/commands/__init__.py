"""The commands of ``attnae-bench``: one module each, its parser and its handler together."""
