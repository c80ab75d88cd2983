"""Commands of ``attnae-bench``: one module per command, with its parser and handler."""
