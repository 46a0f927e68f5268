"""Splits that files have by their names, or that are named one by one."""

import glob
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sma.architectures.files.reading import check_regular, expanded
from sma.training.tasks.text.corpus import Corpus, TextFile

NAMES = {
    "train": "training",
    "training": "training",
    "valid": "validation",
    "validation": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
_NAME = re.compile(rf"({'|'.join(NAMES)})([-_]\d[-\w]*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Dealt:
    """The splits of a corpus, and a sentence on how they came about."""

    corpus: Corpus
    how: str


@dataclass(frozen=True)
class Named:
    """Files by the split that their names say, and a sentence about it."""

    named: Mapping[str, Sequence[TextFile]]
    how: str


def split_of(path: str) -> str | None:
    """The split that a file's name says, as in `train.txt`, `wiki.valid.tokens` and `test/a.txt`, or None.

    Example:
        >>> split_of("wiki.valid.tokens"), split_of("Train-00001-of-4.txt"), split_of("test_utils.py")
        ('validation', 'training', None)
    """
    pure = PurePosixPath(path)
    words = pure.name.split(".") + ([pure.parts[0]] if len(pure.parts) > 1 else [])
    found = [match for match in map(_NAME.fullmatch, words) if match]
    return NAMES[found[0][1].lower()] if found else None


def own_splits(files: Sequence[TextFile], shares: tuple[float, float]) -> Named | None:
    """The splits that files of a folder have by their names; None if none has any.

    Where held-out files have names, those that have none are not used, or are the training split if no file
    is called train. Where only training files have names, the rest is not used if it is the smaller part, or
    else dealt out by the hash of its paths.

    Args:
        files: all files.
        shares: for validation and test, of files that are dealt out.

    Raises:
        ValueError: if all files are held out by their names.
    """
    named: dict[str, list[TextFile]] = {}
    others: list[TextFile] = []
    for file in files:
        split = split_of(file.path)
        (others if split is None else named.setdefault(split, [])).append(file)
    is_on_top = any("/" not in file.path for found in named.values() for file in found)
    if not named or not (is_on_top or ("training" in named and len(named) > 1)):
        return None
    how = f"as the files' own names say: {_shown(named)}"
    if "training" not in named:
        if not others:
            raise ValueError(f"all files are held out by their names ({_shown(named)}); add one called train")
        return Named({**named, "training": others}, f"{how}; training from the other files")
    n_bytes = [sum(file.size for file in some) for some in (named["training"], others)]
    if len(named) == 1 and len(others) >= 3 and n_bytes[0] < n_bytes[1]:
        dealt = Corpus.split(others, validation_share=shares[0], test_share=shares[1])
        held_out = {"validation": dealt.validation, "test": dealt.test}
        training = [*named["training"], *dealt.training]
        return Named({"training": training, **held_out}, f"{how}; the other files by the hash of their paths")
    unused = f"; {len(others):,} other files are not used" if others else ""
    return Named(named, how + unused)


def _shown(named: Mapping[str, Sequence[TextFile]]) -> str:
    return "; ".join(
        f"{split} from {files[0].path}" + (f" and {len(files) - 1:,} more" if len(files) > 1 else "")
        for split, files in sorted(named.items(), key=lambda pair: list(NAMES.values()).index(pair[0]))
    )


def deal(named: Mapping[str, Sequence[TextFile]], shares: tuple[float, float], how: str) -> Dealt:
    """Splits of named files; those that are missing are cut off the ends of the training files.

    Args:
        named: the files of `training`, and of `validation` and `test` if they are there.
        shares: of the training files, for validation and test, if they are missing.
        how: the sentence, which is completed.

    Raises:
        ValueError: if there is nothing to learn from, or it would be in another split, too.
    """
    check_apart(named)
    splits = {split: list(files) for split, files in named.items()}
    missing = {s: share for s, share in zip(("validation", "test"), shares, strict=True) if s not in splits}
    if missing:
        whole = splits["training"]
        kept = 1 - sum(missing.values())
        parts = [file.cut((kept, *missing.values())) for file in whole]
        for i, split in enumerate(("training", *missing)):
            splits[split] = [part[i] for part in parts if part[i].size > 0]
        percent = " and ".join(f"the last {100 * share:.3g} % for {name}" for name, share in missing.items())
        how = f"{how}; of each training file {percent}"
    for split, files in splits.items():
        if not files:
            raise ValueError(f"the training files are too short to hold out a {split} split; name one")
    return Dealt(Corpus(**{split: tuple(files) for split, files in splits.items()}), how)


def check_apart(named: Mapping[str, Sequence[TextFile]]) -> None:
    """See that no training file is held out as well.

    Raises:
        ValueError: if one is.
    """
    training = {file.source.resolve() for file in named["training"] if isinstance(file.source, Path)}
    for split in ("validation", "test"):
        for file in named.get(split, ()):
            if isinstance(file.source, Path) and file.source.resolve() in training:
                raise ValueError(
                    f"{file.source} is in the training and the {split} split; leave it out of one"
                )


def _matching(field: str, pattern: Path) -> list[Path]:
    try:
        paths = [Path(path) for path in glob.glob(str(pattern), recursive=True)]
    except RecursionError:
        raise ValueError(
            f"task.{field}: {str(pattern)[:80]!r}... is nested too deep; name a shorter one"
        ) from None
    return sorted(path for path in paths if path.is_file())


def read_named(
    field: str, places: str | Sequence[str], *, accepted: Callable[[Path], bool] = lambda path: True
) -> list[TextFile]:
    """The non-empty files of some files, folders and globs, each once.

    Args:
        field: of the spec, for messages.
        places: the files, folders and globs.
        accepted: which files of folders are meant.

    Raises:
        ValueError: if a place holds none; the message names the field.
    """
    found: dict[Path, TextFile] = {}
    for place in [places] if isinstance(places, str) else places:
        at = expanded(place, field=f"task.{field}")
        if at.is_dir():
            paths = sorted(path for path in at.rglob("*") if path.is_file() and accepted(path))
        elif at.exists():
            check_regular(at)
            paths = [at]
        else:
            paths = _matching(field, at)
        full = [path for path in paths if path.stat().st_size]
        if not full:
            reason = "holds no text" if paths or at.exists() else "is neither a file, a folder nor a glob"
            raise ValueError(f"task.{field}: {place!r} {reason}; name files that hold text")
        for path in full:
            check_regular(path)
            found.setdefault(path.resolve(), TextFile(path.as_posix(), path))
    return list(found.values())
