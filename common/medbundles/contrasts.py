"""The four contrasts of brain-tumour MRI: their names, and how files and DICOM series tell which they are.

Every tool keeps the order of `CONTRASTS`. A name that can be read in two ways gives no contrast: to take a
native T1 for one after gadolinium, or the reverse, would turn every finding of enhancement around.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from medbundles.formats import suffix_of

CONTRASTS = ("t1", "t1gd", "t2", "flair")
TITLES = {"t1": "T1", "t1gd": "T1Gd", "t2": "T2", "flair": "FLAIR"}

# Words that come glued to the name of a contrast and do not change it: planes, sequences, fat suppression.
_NEUTRAL = (
    "w|wi|weighted|ax|axial|sag|cor|tra|trans|se|tse|fse|ffe|tfe|gre|tfl|mprage|mpr|spgr|fspgr|bravo|vibe|space|"
    "cube|vista|3d|2d|iso|fs|spair|reg|brain|bias|bet|n4"
)
_AGENT = r"post|postgd|postcontrast|gd|gad|gado|gadolinium|dotarem|gadovist|km|ce|contrast|enhanced|"
_AGENT += r"\+c|c\+|\+gd|\+"
_BEFORE = r"(?<![a-z0-9])(?:ax|axial|sag|cor|tra|trans|tse|fse|3d|2d|iso|[es](?=t[12]w))*"
_T1 = re.compile(_BEFORE + r"t1(?P<tail>[a-z+]*)(?![0-9])")
_T2 = re.compile(_BEFORE + r"t2(?P<tail>[a-z+*]*)(?![0-9])")
_FLAIR = re.compile(r"(?<![a-z0-9])(?:ax|sag|cor|tra|3d|2d|ir|t2w?)*flair(?![a-z])|dark ?fluid")
_MPRAGE = re.compile(r"(?<![a-z0-9])(?:3d|ax|sag|cor|tra|me)*(?:mprage|mpr|spgr|fspgr|bravo)(?![a-z0-9])")
_TAIL_AGENT = re.compile(rf"(?:{_NEUTRAL})*(?:c|{_AGENT})(?:{_NEUTRAL}|{_AGENT})*")
_TAIL_NATIVE = re.compile(rf"(?:{_NEUTRAL})*(?:n|pre|precontrast|native|nativ|nc)(?:{_NEUTRAL})*")
_TAIL_NEUTRAL = re.compile(rf"(?:{_NEUTRAL})*")
_WORD = r"(?<![a-z0-9]){}(?![a-z0-9+])"
_OPERATION = re.compile(_WORD.format("post ?(?:op|operative|surgery|treatment|tx)"))
_PRE = re.compile(
    _WORD.format(r"(?:pre|without|w ?/ ?o|wo|non?|not|un)(?: ?(?:iv )?(?:contrast|gd|gad|km|enhanced))?")
    + "|"
    + _WORD.format("precontrast|unenhanced|nativ|native|noncontrast|nc")
)
_POST = re.compile(rf"(?<![a-z0-9])(?:{_AGENT})(?![a-z0-9])|(?<=t1) ?c(?![a-z0-9])|(?<=t1w) ?c(?![a-z0-9])")
# "registered to FLAIR", "in the space of T1w": the contrast of another image.
_TARGET = re.compile(
    r"(?<![a-z0-9])(?:space|reg(?:istered)?(?: ?to)?|to|in|on|onto)[ ]?(?:t1\w*|t2\w*|flair\w*)(?![a-z0-9])"
)
_OTHER = re.compile(
    _WORD.format(
        "t2 ?(?:star|\\*|gre|ffe)|t2s|gre|hemo|dwi|adc|dti|trace|swi|swan|asl|mra|mrv|tof|dsc|dce|"
        "perf|perfusion|pwi|cbv|cbf|stir|subtraction|spectro\\w*"
    )
    + r"|t2\*"
)
_OTHER_SERIES = re.compile(
    _WORD.format("localizer|locali[sz]er|scout|survey|sub|subtr\\w*|pd|proton|map|fa|md|bold|fmri|calib\\w*")
)
# What lies beside the contrasts of a case: segmentations, masks and what a program made of them.
_LABELS = re.compile(
    r"(?<![a-z0-9])(?:seg|segm|segmentation|labels?|masks?|roi|ot|gold|truth|gt|lesions?|tumou?rseg)(?![a-z0-9])"
)
_SYNTHETIC = re.compile(r"(?<![a-z0-9])(?:synthetic|imputed|synthesi[sz]ed|generated)(?![a-z0-9])")
_NO_AGENT = {"", "no", "none", "n", "na", "unknown", "without", "native"}

FLAIR_TI_MS = 1500.0
T2_TE_MS = 60.0
T2_TR_MS = 1800.0
T1_TE_MS = 30.0
T1_SPIN_ECHO_TR_MS = 1300.0
T1_GRADIENT_ECHO_TR_MS = 60.0


def contrast_of(text: str) -> str | None:
    """Returns the contrast that a name such as `t1ce`, `T1w`, `t2f` or `T1 post Gd` stands for, or None.

    A name of several contrasts (`site_T2_case-t1n`) stands for the last one, as all conventions of file
    names put it; what an image was registered to (`T1_regtoFLAIR`, `space-T1w`) does not count.
    """
    words = _TARGET.sub(" ", _words(text))
    if _OTHER.search(words):
        return None
    found = _mentions(words)
    return found[-1][1] if found else None


def contrast_of_file(path: str | os.PathLike) -> str | None:
    """Returns the contrast that a file's name tells; segmentations and synthetic images have none."""
    name = Path(path).name
    name = name[: len(name) - len(suffix_of(name))]
    return None if is_label_name(name) or is_synthetic_name(name) else contrast_of(name)


def contrast_of_series(header: Mapping[str, Any] | Any) -> str | None:
    """Returns the contrast of a DICOM series, or None if its header does not say without contradiction.

    The description decides. Where it is silent, echo, repetition and inversion time do; where it says T1
    and nothing about an agent, `ContrastBolusAgent` does.

    Args:
        header: a pydicom dataset, or anything with `get` by keyword.
    """
    texts = [str(header.get(key) or "") for key in ("SeriesDescription", "ProtocolName")]
    words = [_TARGET.sub(" ", _words(text)) for text in texts]
    if any(_OTHER.search(text) or _OTHER_SERIES.search(text) for text in words[:1]):
        return None
    for text in words:
        said = {name for _, name, _ in _mentions(text)}
        if len(said) > 1 or (said and _contradicts(text)):
            return None
        if said:
            return _with_agent(said.pop(), text, header)
    timed = _contrast_of_times(header)
    return _with_agent(timed, "", header) if timed else None


def without_contrast(name: str) -> str:
    """Returns the words of a name without those that tell its contrast: what the files of a case share."""
    words = _TARGET.sub(" ", _words(name))
    if found := _mentions(words):
        end, _, start = found[-1]
        words = f"{words[:start]} {words[end:]}"
    return " ".join(_POST.sub(" ", _PRE.sub(" ", words)).split())


def is_label_name(name: str) -> bool:
    """Whether a file is called like a segmentation or a mask."""
    return _LABELS.search(_words(name)) is not None


def is_synthetic_name(name: str) -> bool:
    """Whether a file is called like an image that a program made; it must never pass for a measured one."""
    return _SYNTHETIC.search(_words(name)) is not None


def in_order(names: Iterable[str]) -> list[str]:
    """Returns contrasts in the order of `CONTRASTS`.

    Raises:
        ValueError: a name is none of them.
    """
    names = list(names)
    if unknown := [name for name in names if name not in CONTRASTS]:
        raise ValueError(f"unknown contrasts {unknown}; there are {', '.join(CONTRASTS)}")
    return sorted(names, key=CONTRASTS.index)


def _words(text: str) -> str:
    """Lower case, separators as single blanks; `+`, `*` and `/` mean something and stay."""
    return re.sub(r"[^a-z0-9+*/]+", " ", text.lower()).strip()


def _mentions(words: str) -> list[tuple[int, str, int]]:
    """Returns (end, contrast, start) of every mention, in this order."""
    flairs = [match.span() for match in _FLAIR.finditer(words)]
    found = [(end, "flair", start) for start, end in flairs]
    for match, name in _weighted(words):
        touching = [span for span in flairs if span[0] <= match.end() + 1 and span[1] >= match.start()]
        if name == "t2" and flairs:  # T2-FLAIR, however far apart
            continue
        if touching and name in ("t1", "t1gd"):  # T1-FLAIR is an inversion-recovery T1
            found = [item for item in found if item[0] not in {span[1] for span in touching}]
        found.append((match.end(), name, match.start()))
    if not found and (match := _MPRAGE.search(words)):
        found = [(match.end(), _by_words("t1", words), match.start())]
    return sorted(found)


def _weighted(words: str) -> Iterator[tuple[re.Match[str], str]]:
    for match in _T1.finditer(words):
        tail = match["tail"].removesuffix("flair")
        if _TAIL_AGENT.fullmatch(tail):
            yield match, "t1gd"
        elif _TAIL_NATIVE.fullmatch(tail):
            yield match, "t1"
        elif _TAIL_NEUTRAL.fullmatch(tail):
            yield match, _by_words("t1", words)
    for match in _T2.finditer(words):
        if re.fullmatch(rf"(?:w)?(?:f|flair)(?:{_NEUTRAL})*", match["tail"]):
            yield match, "flair"
        elif _TAIL_NEUTRAL.fullmatch(match["tail"]) or _TAIL_NATIVE.fullmatch(match["tail"]):
            yield match, "t2"


def _by_words(name: str, words: str) -> str:
    rest = _PRE.sub(" ", _OPERATION.sub(" ", words))
    return "t1gd" if _POST.search(rest) else name


def _contradicts(words: str) -> bool:
    """Whether a description speaks of before and after the agent: two series in one, or a difference."""
    words = _OPERATION.sub(" ", words)
    return bool(_PRE.search(words) and _POST.search(_PRE.sub(" ", words)))


def _with_agent(name: str, words: str, header: Any) -> str:
    """A T1 whose description is silent about the agent is one after it if the header names an agent."""
    if name != "t1" or _PRE.search(words):
        return name
    agent = str(header.get("ContrastBolusAgent") or "").strip().lower()
    return "t1" if agent in _NO_AGENT else "t1gd"


def _contrast_of_times(header: Any) -> str | None:
    repetition, echo, inversion = (
        _number(header, f"{key}Time") for key in ("Repetition", "Echo", "Inversion")
    )
    if not repetition or echo is None:
        return None
    if (inversion or 0) >= FLAIR_TI_MS:
        return "flair" if echo >= T2_TE_MS else None
    kinds = header.get("ScanningSequence") or ""
    gradient = "GR" in ([kinds] if isinstance(kinds, str) else list(kinds))
    if gradient:  # a long echo of a gradient echo is T2*
        return "t1" if echo < T1_TE_MS and (repetition < T1_GRADIENT_ECHO_TR_MS or inversion) else None
    if echo >= T2_TE_MS and repetition >= T2_TR_MS:
        return "t2"
    return "t1" if echo < T1_TE_MS and repetition < T1_SPIN_ECHO_TR_MS else None


def _number(header: Any, key: str) -> float | None:
    try:
        return float(header.get(key))
    except (TypeError, ValueError):
        return None
