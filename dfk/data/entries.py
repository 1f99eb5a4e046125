"""What lies in a folder: images, told by their suffix or by what they hold, and all else."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from dfk.text import nfc

# Suffixes of images, in any case. What has another, or none, is looked into.
_JPEG = (".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp")
SUFFIXES = (".png", *_JPEG, ".webp", ".bmp", ".dib", ".gif")
# How the files start that dfk reads: PNG, JPEG, GIF, WebP and BMP.
_READ = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8|RIFF.{4}WEBP"
    rb"|BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0",
    re.DOTALL,
)
# How images start that it does not read: (name of the format, where, bytes).
UNREAD = (
    *(("TIFF", 0, start) for start in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    *(("HEIC", 4, b"ftyp" + brand) for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc")),
    *(("HEIF", 4, b"ftyp" + brand) for brand in (b"mif1", b"msf1")),
    *(("AVIF", 4, b"ftyp" + brand) for brand in (b"avif", b"avis")),
    ("JPEG XL", 0, b"\xff\x0a"),
    ("JPEG XL", 4, b"JXL \r\n\x87\n"),
    ("JPEG 2000", 4, b"jP  \r\n\x87\n"),
)
_LONGEST = 32  # Bytes that tell the format
# What systems and tools leave beside images; so do names that start with a dot.
_SYSTEM = {
    *("__macosx", "@eadir", "@recently-snapshot", "#recycle", "#snapshot", "lost+found"),
    *("$recycle.bin", "system volume information", "recycler", "thumbs.db", "ehthumbs.db"),
    *("desktop.ini", "icon\r", "__pycache__"),
}
_SHOWN, _MOST_KINDS = 3, 8
_LINE = re.compile(r":\d+$")  # As messages name a line of a table


def starts_image(data: bytes) -> bool:
    """Whether a file is an image, of a format that dfk reads or knows by name."""
    return bool(_READ.match(data)) or any(data.startswith(x, at) for _, at, x in UNREAD)


def is_system(name: str) -> bool:
    """Whether an entry of a folder is hidden, or one that systems make for themselves."""
    return name.startswith(".") or name.lower() in _SYSTEM


def listed(folder: str | Path) -> list[os.DirEntry]:
    """The entries of a folder by name; they know what they are without a look at each."""
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def is_folder(entry: os.DirEntry) -> bool:
    """Whether it is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # A link to itself
        return False


def is_image(entry: os.DirEntry) -> bool:
    """Whether a file is an image: by its suffix, or where that is another by its first bytes."""
    if is_system(entry.name):
        return False
    try:
        if not entry.is_file():
            return False
        if entry.name.lower().endswith(SUFFIXES):
            return True
        with open(entry.path, "rb") as file:
            return starts_image(file.read(_LONGEST))
    except OSError:
        return False


class Kinds:
    """Counts names of files by their kind; as text it says how many there are of which."""

    def __init__(self, names: Iterable[str] = ()):
        self._kinds: Counter[str] = Counter()
        self._first: list[str] = []
        for name in names:
            self.add(name)

    def add(self, name: str) -> None:
        """Counts one."""
        self._kinds[kind(name)] += 1
        if len(self._first) < _SHOWN:
            self._first.append(name)

    def __len__(self) -> int:
        return self._kinds.total()

    def __str__(self) -> str:
        kinds = [f"{count} {name}" for name, count in self._kinds.most_common(_MOST_KINDS)]
        others = len(self) - sum(count for _, count in self._kinds.most_common(_MOST_KINDS))
        return ", ".join([*kinds, f"{others} others"] if others else kinds)

    def first(self) -> str:
        """The first names, and the kinds of all where there are more of them."""
        names = ", ".join(self._first)
        return names if len(self) <= _SHOWN else f"{names}, ... ({self})"


def in_other_form(path: str) -> str:
    """The path of what is there by the same name in another form of Unicode; else the path.

    Files from a Mac have accents as letters of their own (NFD), what people type has not (NFC).
    """
    folder, name = os.path.split(path)
    if os.path.lexists(path) or not name:
        return path
    folder = in_other_form(folder)
    forms = [os.path.join(folder, unicodedata.normalize(form, name)) for form in ("NFC", "NFD")]
    return next(filter(os.path.lexists, forms), path)


def kind(name: str) -> str:
    """What a file, or a line of it, is called among many: by its suffix."""
    name = _LINE.sub("", os.path.basename(name))
    if is_system(name):
        return "hidden or of the system"
    return os.path.splitext(name)[1].lower() or "without suffix"


class Images:
    """The images right inside a folder, found by the names that tables give them.

    Attributes:
        folder: it; one that is not there holds none.
        paths: of the images, by name.
        others: the entries that are none.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.paths: list[Path] = []
        self.others = Kinds()
        self._by_stem: dict[str, list[Path]] = {}
        for entry in listed(folder) if folder.is_dir() else ():
            if is_image(entry):
                self.paths.append(folder / entry.name)
                stem = nfc(os.path.splitext(entry.name)[0])
                self._by_stem.setdefault(stem, []).append(self.paths[-1])
            else:
                self.others.add(entry.name)

    def named(self, image_id: str) -> list[Path]:
        """The images of which an id is the name, with or without its suffix."""
        name = nfc(image_id)
        stem = os.path.splitext(name)[0]
        exact = [path for path in self._by_stem.get(stem, []) if nfc(path.name) == name]
        return list(dict.fromkeys([*exact, *self._by_stem.get(name, [])]))
