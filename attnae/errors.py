"""The exception for errors that are shown to the user in one line."""


class UserError(Exception):
    """A one-line message: what is wrong, where, and what to do. Command lines print it without a traceback."""

    def __str__(self) -> str:
        """The message in one line, even if it contains file names or other messages with line breaks."""
        return " ".join(super().__str__().split())
