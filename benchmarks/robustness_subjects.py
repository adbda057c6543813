"""What the suite tries to break: small bundles with small inputs, for prediction and for training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medbundles.io import write_image
from medbundles.zoo.demo import simulate
from medbundles.zoo.find import find_bundle
from medbundles.zoo.new import TEMPLATE

FETAL, CT = "fetal_us_biometry_segmentation", "ct_lowdose_cyclegan_denoising"
CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
EPOCHS = 3


@dataclass(frozen=True)
class Subject:
    """A command on a bundle.

    Attributes:
        name: in the tables.
        command: predict or train.
        bundle: its folder.
        inputs: the folder that it reads.
        options: of the command.
        other: of an earlier run, whose results are other ones.
    """

    name: str
    command: str
    bundle: Path
    inputs: Path
    options: tuple[str, ...] = ()
    other: tuple[str, ...] = ()

    def words(self, out: Path, *, options: Sequence[str] | None = None, again: bool = False) -> list[str]:
        """The command line after `medbundles`.

        Args:
            out: the folder of the results.
            options: in place of its own.
            again: it goes on with what an earlier run began.
        """
        options = list(self.options if options is None else options)
        if self.command == "predict":
            if again:  # what is done is done
                options = [o for o in options if o != "--overwrite=true"]
            return ["predict", str(self.bundle), str(self.inputs), str(out), *options]
        paths = [f"--dataset_dir={self.inputs}", f"--output_dir={out}", f"--weights={out / 'model.pt'}"]
        return ["train", str(self.bundle), *paths, *options, *(["--resume=true"] if again else [])]


def subjects(work: Path) -> dict[str, Subject]:
    """All subjects by their names; inputs that are not there yet are made in `work`."""
    discs, many, fetal, ct, series = (work / n for n in ("discs", "cases", "fetal", "ct", "series"))
    if not (many / "cases.json").exists():
        simulate(TEMPLATE, many, 20, 0)
    if not discs.exists():
        discs.mkdir(parents=True)
        for path in sorted((many / "images").iterdir())[:2]:
            (discs / path.name).write_bytes(path.read_bytes())
    if not fetal.exists():
        simulate(find_bundle(FETAL), fetal, 2, 0)
    if not ct.exists():
        write_image(volume()[None], ct / "stack.nii.gz", affine=np.diag([-1.0, -1.0, 2.0, 1.0]))
    if not series.exists():
        write_series(series / "scan", volume())
    training = (f"--epochs={EPOCHS}", "--batch_size=4")
    found = [
        Subject("discs", "predict", TEMPLATE, discs, ("--pixel_mm=0.5",), ("--pixel_mm=0.25",)),
        Subject(
            *("fetal ultrasound", "predict", find_bundle(FETAL), fetal / "images"),
            *(("--mirror=false",), ("--mirror=true",)),
        ),
        Subject("CT stack", "predict", find_bundle(CT), ct, (), ("--strength=0.5",)),
        Subject("CT series", "predict", find_bundle(CT), series, (), ("--strength=0.5",)),
        Subject("discs, training", "train", TEMPLATE, many, training),
    ]
    return {subject.name: subject for subject in found}


def volume(shape: tuple[int, int, int] = (48, 48, 4), seed: int = 0) -> np.ndarray:
    """A cylinder of water in air with a rod of bone and noise, in Hounsfield units, (x, y, z)."""
    x, y, _ = np.indices(shape)
    radius = np.hypot(x - shape[0] / 2, y - shape[1] / 2)
    values = np.where(radius < 0.4 * shape[0], 0.0, -1000.0)
    values[np.hypot(x - 0.6 * shape[0], y - 0.5 * shape[1]) < 4] = 600
    return np.rint(values + np.random.default_rng(seed).normal(0, 30, shape)).astype(np.int16)


def write_series(folder: Path, values: np.ndarray) -> list[Path]:
    """Writes (x, y, z) in Hounsfield units as a DICOM series, a file per slice; nobody was scanned."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    study, series, paths = generate_uid(), generate_uid(), []
    for number in range(values.shape[2]):
        file = Dataset()
        file.file_meta = FileMetaDataset()
        file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file.SOPClassUID, file.SOPInstanceUID = CT_CLASS, generate_uid()
        file.StudyInstanceUID, file.SeriesInstanceUID = study, series
        file.FrameOfReferenceUID = study
        file.Modality, file.SeriesNumber, file.InstanceNumber = "CT", 1, number + 1
        file.PatientName, file.PatientID = "Phantom", "PHANTOM"
        file.ImagePositionPatient, file.ImageOrientationPatient = [0, 0, 2 * number], [1, 0, 0, 0, 1, 0]
        file.PixelSpacing, file.SliceThickness = [1, 1], 2
        file.Columns, file.Rows = values.shape[:2]
        file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
        file.BitsAllocated = file.BitsStored = 16
        file.HighBit, file.PixelRepresentation = 15, 1
        file.RescaleSlope, file.RescaleIntercept = 1, 0
        file.PixelData = np.ascontiguousarray(values[:, :, number].T).tobytes()
        paths.append(folder / f"slice_{number:03d}.dcm")
        file.save_as(paths[-1], enforce_file_format=True)
    return paths
