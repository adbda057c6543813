"""What an archive says of an object that was sent to it (STOW-RS)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medbundles.dicomweb_errors import DENIED, MISSING, PASSING

if TYPE_CHECKING:
    from pydicom import Dataset

# PS3.18 table 10.5.3-1 and what PS3.4 says of storing, by the upper digits that matter.
REASONS = {
    0x0110: "it could not process the object",
    0x0111: "it has the object already, and does not replace it",
    0x0117: "the object's identifier is invalid",
    0x0122: "it does not take objects of this class",
    0x0124: "this user may not store",
    0x0131: "the patient's identifier is of another form than it expects",
    0xA700: "it has no room",
    0xA900: "the object does not match its class",
    0xC000: "it does not understand the object",
    0xC122: "it does not take this transfer syntax",
}
HAS_IT = 0x0111
CLIENT_ERRORS = range(400, 500)


def reason_of(answer: Dataset) -> str:
    """Returns why an object was not stored, "" if the answer names no failure."""
    return next((_words(code) for code in _failures(answer) if code != HAS_IT), "")


def reason_of_refusal(error: Exception) -> str | None:
    """Returns why an archive refuses an object, "" if it has it, None if the error is not about the object.

    Only codes are taken from the answer: its texts are the archive's own.
    """
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if status not in CLIENT_ERRORS or status in DENIED or status in PASSING or status in MISSING:
        return None
    answer = _answer(response)
    if _failures(answer):
        return reason_of(answer)
    return f"it refuses the object (HTTP {status})"


def _failures(answer: Dataset) -> list[int]:
    items = [i for name in ("FailedSOPSequence", "OtherFailuresSequence") for i in answer.get(name) or []]
    return [int(item.get("FailureReason") or 0) for item in items]


def _answer(response: Any) -> Dataset:
    from pydicom import Dataset

    try:
        return Dataset.from_json(response.json())
    except Exception:  # whatever the body is, it is no list of failures
        return Dataset()


def _words(code: int) -> str:
    for mask in (0xFFFF, 0xFF00, 0xF000):
        if code & mask in REASONS:
            return f"{REASONS[code & mask]} (0x{code:04X})"
    return f"its reason is 0x{code:04X}"
