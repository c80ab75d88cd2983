"""Image formats and file extensions. Plain Python."""

from __future__ import annotations

import os

FORMATS = (
    "JPEG", "PNG", "GIF", "WEBP", "BMP", "PPM", "TIFF",
    "AVIF", "BLP", "CUR", "DCX", "DDS", "DIB", "FITS", "FLI", "FTEX", "GBR", "ICNS", "ICO", "IM", "JPEG2000", "MPO",
    "MSP", "PCD", "PCX", "PIXAR", "PSD", "QOI", "SGI", "SUN", "TGA", "XBM", "XPM",
)  # fmt: skip
"""Pillow's names of the formats that it decodes itself, in the order in which they are tried.

Excluded: PostScript (EPS), which would run a PostScript interpreter on the file; IPTC, which opens the image that it contains
in any format, also PostScript; BUFR, GRIB, HDF5, MPEG and WMF, which Pillow identifies but cannot decode.
"""

EXTENSIONS = {
    ".apng", ".avif", ".avifs", ".blp", ".bmp", ".bw", ".cur", ".dcx", ".dds", ".dib", ".fit", ".fits", ".flc", ".fli", ".ftc",
    ".ftu", ".gbr", ".gif", ".icb", ".icns", ".ico", ".im", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg",
    ".jpf", ".jpg", ".jpx", ".mpo", ".msp", ".pbm", ".pcd", ".pcx", ".pfm", ".pgm", ".png", ".pnm", ".ppm", ".psd", ".pxr",
    ".qoi", ".ras", ".rgb", ".rgba", ".sgi", ".tga", ".tif", ".tiff", ".vda", ".vst", ".webp", ".xbm", ".xpm",
}  # fmt: skip
"""Lowercase file extensions of images: all that Pillow registers for :data:`FORMATS`.

The list is fixed, so that it does not depend on the installed Pillow. Other files are left out and counted.
"""


def is_image(name: str) -> bool:
    """Whether a file is an image, by its name."""
    return os.path.splitext(name)[1].lower() in EXTENSIONS  # noqa: PTH122 - creating a Path for each file is slow


def is_table(name: str) -> bool:
    """Whether a file is Parquet, by its name."""
    return name.lower().endswith(".parquet")
