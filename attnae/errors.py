"""Errors that are shown to the user in one line."""


class UserError(Exception):
    """A one-line message: what is wrong, where, and what to do. Command lines print it without a traceback."""

    def __str__(self) -> str:
        """The message in one line, even if it contains file names or other messages with line breaks."""
        return " ".join(super().__str__().split())


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the CPU ran out of memory. PyTorch raises a ``RuntimeError`` then."""
    return isinstance(error, MemoryError) or any(said in str(error) for said in ("can't allocate memory", "bad_alloc"))
