"""The commands that hand a bundle on: packed, signed, checked, or in another format.

Heavy imports stay inside the functions, as in `medbundles.cli`.
"""

from __future__ import annotations

from pathlib import Path

from fire.decorators import SetParseFns

from medbundles.zoo import find


@SetParseFns(str, str, for_=str, sign=str)
def pack(bundle: str, output: str = ".", *, for_: str = "", sign: str = "") -> None:
    """Writes a bundle as one zip that runs with MONAI alone, without medbundles being installed.

    Args:
        bundle: name or folder.
        output: the folder that it is written to.
        for: `zoo` writes a folder for MONAI's model zoo, `hf` one for Hugging Face.
        sign: the secret key that signs the checksums; `medbundles keygen` makes one.
    """
    from medbundles.zoo.keys import secret_key
    from medbundles.zoo.pack import pack as write

    folder = find.find_bundle(bundle)
    packed = write(folder, Path(output), for_, secret_key(Path(sign)) if sign else None)
    for note in packed.notes:
        print(note)
    size = packed.path.stat().st_size if packed.path.is_file() else packed.size
    print(f"{packed.path} ({size / 1e6:.1f} MB)")


@SetParseFns(str, key=str)
def verify(path: str, *, key: str = "") -> None:
    """Checks that a packed bundle is what was packed: all files, none more, none less, and who signed it.

    Args:
        path: the zip, or the folder that it was unpacked to.
        key: the public key of whoever signed it, as a file or as text (RW...).
    """
    from medbundles.zoo.verify import verify as check_packed

    for line in check_packed(Path(path), key or None):
        print(line)


@SetParseFns(str)
def keygen(key: str, *, plain: bool = False) -> None:
    """Makes a key pair for signing: KEY, which stays secret, and KEY.pub, which is published.

    Args:
        key: the file of the secret key; files that are there are never overwritten.
        plain: no password; else it is asked for, or taken from $MEDBUNDLES_KEY_PASSWORD.
    """
    from medbundles.zoo.keys import make_keys

    public = make_keys(Path(key), plain=plain)
    print(f"{key} (keep it secret)\n{key}.pub (publish it)\n{public.text().splitlines()[1]}")


@SetParseFns(str, to=str, output=str)
def export(bundle: str, *, to: str = "torchscript", output: str = ".", int8: bool = False) -> None:
    """Writes the networks of a bundle in another format, each after it was compared with the original.

    Args:
        bundle: name or folder.
        to: torchscript, onnx or pt2.
        output: the folder that BUNDLE_FORMAT/ is written to.
        int8: quantise, with --to onnx; refused where the scores of the bundle on simulated cases change by
            more than 0.005.
    """
    from medbundles.zoo.export import export as write

    folder, exports = write(find.find_bundle(bundle), to, Path(output), int8=int8)
    for item in exports:
        print(item.line())
    print(folder)


COMMANDS = {"pack": pack, "verify": verify, "keygen": keygen, "export": export}
