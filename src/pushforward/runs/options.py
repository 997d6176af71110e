"""Which options of samples a run reads. Others are refused: they would change nothing."""

from os import PathLike

from pushforward.data import CaptionDocuments, Captioned, Source, SourceOfClips, TextSource
from pushforward.sampling import Sampling

PICTURES = ("images", "captions", "clips")
READ_BY = {  # options, and the kinds of runs that read them; all read the others
    "given": ("tables",),
    "png": ("images",),
    "label": ("images", "tables"),
    "prompt": ("captions", "clips", "text"),
    "length": ("text",),
    "gap": ("text",),
    "guidance": (*PICTURES, "tables"),
    "denoise": PICTURES,
    "frames": ("clips",),
    "first_frame": ("clips",),
    "sweeps": ("clips",),
}


def chosen(sampling: Sampling, **others: object) -> list[str]:
    """The names of options that are not their defaults; `others` are of no `Sampling`, and empty by default."""
    usual = vars(Sampling())
    return [name for name, value in others.items() if value] + [
        name for name, value in vars(sampling).items() if value != usual[name]
    ]


def check_read(run: str | PathLike[str], source: Source, sampling: Sampling, **others: object) -> None:
    """Raise ValueError where a run on this source does not read an option that is chosen."""
    kind = kind_of(source)
    for name in chosen(sampling, **others):
        kinds = READ_BY.get(name, (kind,))
        if kind not in kinds:
            raise ValueError(f"--{name.replace('_', '-')} is for runs on {', '.join(kinds)}; {run} learned {source}.")


def kind_of(source: Source) -> str:
    """What a run on this source learned: text, tables, clips, captions of images, or images."""
    match source:
        case TextSource():
            return "text"
        case SourceOfClips():
            return "clips"
        case Captioned() | CaptionDocuments():
            return "captions"
    return "tables" if source.columns else "images"
