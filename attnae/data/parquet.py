"""Images in Parquet, in the layout of image datasets on the Hugging Face hub: a column of structs {bytes, path} or of bytes."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, cast

from attnae.data.archive import LARGEST
from attnae.data.decode import UInt8, UnreadableImage, decode_rgb, resize
from attnae.data.hub import EXTRA
from attnae.data.walk import File, printable
from attnae.errors import UserError

MOST_ROWS = 64
"""Maximum number of rows in memory."""

PREFERRED = ("image", "img", "jpg", "png", "bytes")
"""If several columns may contain images, the first of these names is used, else the first column."""


class Rows:
    """The images of several Parquet files.

    Keeps a few images in memory at a time, so they should be read in order: going back begins the row group again.

    Args:
        files: Parquet files in order.

    Raises:
        UserError: A file is damaged or has no column of images, or pyarrow is missing.
    """

    def __init__(self, files: Sequence[File]):
        self.files = files
        self.readers = [_opened(file) for file in files]
        self.columns = [_column(reader, file) for reader, file in zip(self.readers, files, strict=True)]
        self.groups: list[tuple[int, int, int]] = []  # file, row group in it, first row in it
        self.starts = [0]  # first index of each row group, and the number of all rows
        for number, reader in enumerate(self.readers):
            first = 0
            for group in range(reader.metadata.num_row_groups):
                rows = reader.metadata.row_group(group).num_rows
                self.groups.append((number, group, first))
                self.starts.append(self.starts[-1] + rows)
                first += rows
        self.group, self.begin, self.values = -1, 0, cast(Any, ())  # values of the rows of a group from begin
        self.batches: Iterator[Any] = iter(())

    def __len__(self) -> int:
        return self.starts[-1]

    def content(self, index: int) -> bytes | None:
        """The stored bytes of an image; ``None`` if there are none.

        Raises:
            UserError: The file is damaged, or the first rows of a file have no bytes at all.
        """
        group = bisect_right(self.starts, index) - 1
        number, row = self.groups[group][0], index - self.starts[group]
        try:
            if group != self.group or row < self.begin:
                self._enter(group)
            while row >= self.begin + len(self.values):
                self.begin += len(self.values)
                self.values = _bytes(next(self.batches).column(0))
        except UserError:
            raise
        except Exception as error:  # damaged pages raise ArrowInvalid, OSError, StopIteration, ...
            raise _damaged(self.files[number], error) from error
        content: bytes | None = self.values[row - self.begin].as_py()
        return content

    def _enter(self, group: int) -> None:
        """Begins to read a row group, in batches.

        A page of a dictionary stores a value once for any number of rows, so a small file can expand to any size. No value is
        larger than the column's chunk, which limits the rows that may be expanded at once.
        """
        number, within, _ = self.groups[group]
        reader, name = self.readers[number], self.columns[number]
        about = reader.metadata.row_group(within)
        chunk = next(one for one in map(about.column, range(about.num_columns)) if one.path_in_schema == name)
        if not within and chunk.statistics is not None and chunk.statistics.null_count == about.num_rows > 0:
            raise UserError(
                f"{printable(self.files[number].path)} stores no images: the column {name} is empty, as if "
                "only paths had been written. Write it with the bytes of the images, or name their folder instead."
            )
        rows = min(MOST_ROWS, max(1, LARGEST // max(1, chunk.total_uncompressed_size)))
        self.batches = reader.iter_batches(rows, row_groups=[within], columns=[name], use_threads=False)
        self.group, self.begin, self.values = group, 0, ()

    def decode(self, index: int, size: int, conversions: Counter[str]) -> UInt8:
        """An image, uint8 (size, size, 3).

        Raises:
            UnreadableImage: Its bytes are missing or cannot be decoded.
        """
        content = self.content(index)
        number, _, first = self.groups[self.group]
        name = f"{printable(self.files[number].path)}[{first + index - self.starts[self.group]}]"
        if content is None:
            raise UnreadableImage(f"The row {name} contains no image bytes. Remove it.")
        return resize(decode_rgb(content, name, conversions), size, conversions, name)


def _opened(file: File) -> Any:
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UserError(f"Reading {printable(file.path)} needs pyarrow. Install it with: {EXTRA}") from error
    try:
        return pq.ParquetFile(file.path)
    except Exception as error:  # ArrowInvalid, OSError, ...
        raise _damaged(file, error) from error


def _column(reader: Any, file: File) -> str:
    """Path of the column of bytes."""
    import pyarrow as pa

    binary = {pa.binary(), pa.large_binary()}
    found = {}
    for column in reader.schema_arrow:
        if pa.types.is_struct(column.type):
            if column.type.get_field_index("bytes") >= 0 and column.type.field("bytes").type in binary:
                found[column.name] = f"{column.name}.bytes"
        elif column.type in binary:
            found[column.name] = column.name
    if not found:
        names = ", ".join(f"{column.name} ({column.type})" for column in reader.schema_arrow)
        raise UserError(
            f"{printable(file.path)} has no column of images. Provide bytes, or structs with bytes. Columns: {names[:500]}."
        )
    return found[next((name for name in PREFERRED if name in found), next(iter(found)))]


def _bytes(column: Any) -> Any:
    """The column of bytes, which may lie in a struct."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column


def _damaged(file: File, error: Exception) -> UserError:
    return UserError(
        f"Cannot read {printable(file.path)}: {str(error)[:200] or type(error).__name__}. Download or create it again."
    )
