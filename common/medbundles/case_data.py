"""Cases on their way to a network: each is read by itself, and a failure stays with its case."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from monai.data import Dataset
from torch.utils.data import DataLoader

from medbundles import io
from medbundles.checks import root_input_error
from medbundles.dicom_results import check_format, known_format
from medbundles.errors import ChangingInputError
from medbundles.finished import state_of_input
from medbundles.memory import out_of_memory
from medbundles.pipeline import read_ahead
from medbundles.profiling import Profile
from medbundles.shards import rank_and_size, shared_out

logger = logging.getLogger(__name__)


class CaseDataset(Dataset):
    """Cases whose reading may fail: the failure becomes the item, so that the other cases go on.

    An item has, besides what the transform made, `input` (what the user named), `case` (a name for its
    files, unique in this dataset), `read_seconds` and `state`, of its files; a failed one has `failure`, in
    words.

    Args:
        data: dictionaries with at least `image`.
        transform: the preprocessing.
        shard: under torchrun, take only the share of this process.
        output_format: how results are wanted; a case that cannot have them so is not even read.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        transform: Callable | None = None,
        *,
        shard: bool = False,
        output_format: str = "auto",
    ) -> None:
        super().__init__(shared_out(data) if shard else data, transform)
        self.shard = bool(shard) and rank_and_size()[1] > 1
        self.all_inputs = [input_name(case) for case in data]  # the other processes' among them
        self.output_format = known_format(output_format)
        self.output_dir: Path | None = None  # what lies there is no input
        self.done: set[str] = set()  # inputs that are not to be read again
        self.profile = Profile()
        self._names = shared_out(case_names(self.all_inputs)) if self.shard else []

    @property
    def names(self) -> list[str]:
        """A name per case for its files."""
        if len(self._names) != len(self.data):  # clients replace `data`
            self._names = case_names([input_name(case) for case in self.data])
        return self._names

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns one case."""
        source = input_name(self.data[index])
        item = {"input": source, "case": self.names[index]}
        if source in self.done:
            return item | {"done": True}
        started, state = time.monotonic(), self.state(index)
        try:
            check_format(self.output_format, self.data[index]["image"])
            item = {**self.data[index], **item, "warnings": []}
            item = self.profile.run(self.transform, item, "read")
            if self.state(index) != state:
                raise _changed(source)
        except Exception as error:  # whatever is wrong with one case must not stop the others
            changed = state is not None and self.state(index) not in (None, state)
            item["failure"] = failure_text(_changed(source) if changed else error, source)
        return {**item, "state": state, "read_seconds": time.monotonic() - started}

    def state(self, index: int) -> str | None:
        """What tells a case's files from other ones of the same names; None for an image in memory."""
        return state_of_input(self.data[index]["image"], self.output_dir)


class CaseLoader(DataLoader):
    """A DataLoader that hands over one case at a time, as the dictionary that the dataset made.

    The next case is read meanwhile: by other processes if there are any, else by a thread.

    Attributes:
        lock: held while the thread reads.
    """

    def __init__(self, dataset: Dataset, num_workers: int = 0) -> None:
        super().__init__(dataset, batch_size=1, num_workers=num_workers, collate_fn=_only)
        self.lock = Lock()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yields the cases in their order."""
        cases = super().__iter__()
        return cases if self.num_workers else read_ahead(cases, self.lock)


def input_name(case: Mapping[str, Any]) -> str:
    """Returns what the user named: the path of the case's image, of the first of several, or of a study."""
    image = case["image"]
    if isinstance(image, Mapping):  # a file per contrast
        from medbundles.studies import study_name

        return study_name(image)
    if isinstance(image, list | tuple):
        image = image[0]
    return str(image) if isinstance(image, str | os.PathLike) else "image in memory"


def _changed(source: str) -> ChangingInputError:
    return ChangingInputError(
        "it was written to while it was read",
        expected="a file or folder that is complete",
        source=source,
        advice="wait until it is there in full, and give the same command again",
    )


def case_names(sources: Sequence[str]) -> list[str]:
    """Returns a name per input for its result files; those that share a stem get more of their path."""
    names = [io.case_name(source) for source in sources]
    for longer in (_with_extension, _with_folder, _with_number):
        count = Counter(names)
        names = [
            longer(source, name, index) if count[name] > 1 else name
            for index, (source, name) in enumerate(zip(sources, names, strict=True))
        ]
    return names


def _with_extension(source: str, name: str, index: int) -> str:
    file = Path(source).name
    return name + file[len(name) :].replace(".", "_") if file.startswith(name) else name


def _with_folder(source: str, name: str, index: int) -> str:
    return f"{Path(source).parent.name}_{name}"


def _with_number(source: str, name: str, index: int) -> str:
    return f"{name}_{index + 1}"


def failure_text(error: Exception, source: str) -> str:
    """Returns why a case failed, in at most six lines; a failure that is not the input's is also logged."""
    known = root_input_error(error) or out_of_memory(error, source)
    if known is not None:
        return str(known)
    logger.error("%s", source, exc_info=error)
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = [line for line in str(cause).splitlines() if line.strip()] or ["no message"]
    return "\n".join([f"{type(cause).__name__}: {lines[0]}", *lines[1:5]])


def _only(items: list[dict[str, Any]]) -> dict[str, Any]:
    return items[0]
