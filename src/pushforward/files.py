"""Atomic writing of files, locks of folders, and the folders of data and caches."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from glob import glob, has_magic
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write a file or folder at; it is renamed to `path` once all of it is on the disk.

    The folder that it is in is made if it is missing. If the process is killed, `path` stays as it was; at an error the
    temporary path is removed. A folder cannot replace another. Raises OSError where the disk does not take it.
    """
    begun = begun_at(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove(begun)
    try:
        yield begun
        for file in [begun, *begun.rglob("*")]:
            _flush(file)
        os.replace(begun, path)
        _flush(path.parent)
    except BaseException as error:
        remove(begun)
        if isinstance(error, OSError) and error.filename is None:  # as where the disk is full
            raise OSError(error.errno, f"cannot write {path}, {error.strerror}") from error
        raise


def begun_at(path: Path) -> Path:
    """The temporary path of `replacing`."""
    return path.with_name(f".{path.name}.begun")


def write(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    with replacing(path) as begun:
        begun.write_text(text, encoding="utf-8")


def made_once(path: Path, make: Callable[[Path], object]) -> Path:
    """The path of a file in a cache: `make` writes it, given a temporary path, for the first process that asks.

    Other processes wait for it meanwhile.
    """
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            with replacing(path) as begun:
                make(begun)
    return path


@contextmanager
def alone_in(folder: Path) -> Iterator[Callable[[], bool]]:
    """Lock a folder against other processes; it is made if it is missing. The lock ends with the process.

    Yields whether the folder is still the locked one, a function. A folder that was made here, and into which nothing
    was written, is removed again.
    """
    from filelock import FileLock, Timeout

    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock").acquire(timeout=0)
    except Timeout:
        raise RuntimeError(f"{folder} is in use by another process. Wait for it, or give another folder.") from None
    except OSError as error:
        raise OSError(f"cannot write into {folder} ({error.strerror}). Give another folder.") from None
    mine = (folder / ".lock").stat()

    def held() -> bool:
        try:
            return os.path.samestat(mine, (folder / ".lock").stat())
        except OSError:
            return False

    with lock:
        try:
            yield held
        finally:
            if made and held() and [entry.name for entry in folder.iterdir()] == [".lock"]:
                remove(folder)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it exists. A folder is renamed first, so that no part of it stays there."""
    if path.is_dir():
        going = path.with_name(f".{path.name.strip('.')}.going")
        shutil.rmtree(going, ignore_errors=True)
        shutil.rmtree(path.rename(going))
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Flush a file to the disk; for a folder, the names in it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_pattern(path: Path) -> bool:
    """Whether a path is that of no file, and has wildcards, in its name or in the names of folders."""
    return not path.exists() and has_magic(str(path))


def matching(pattern: Path) -> list[Path]:
    """The files and folders that a pattern matches, in order."""
    return sorted(map(Path, glob(str(pattern), recursive=True)))


def fixed_part(pattern: Path) -> Path:
    """The folder of a pattern in which all that it matches is; a path without wildcards itself.

    >>> fixed_part(Path("data/*/train-?.tar")).as_posix()
    'data'
    """
    if not is_pattern(pattern):
        return pattern
    return next(folder for folder in pattern.parents if not has_magic(str(folder)))


def data_folder() -> Path:
    """Where data sets and weights are found by name: $PUSHFORWARD_DATA, or shared/data beside the source checkout."""
    return Path(os.environ.get("PUSHFORWARD_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")


def cache_folder() -> Path:
    """Where what can be made again is kept: $XDG_CACHE_HOME/pushforward, or ~/.cache/pushforward."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pushforward"
