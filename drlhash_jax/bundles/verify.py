"""Whether a bundle is bit for bit what was written."""

from pathlib import Path

from drlhash_jax.bundles.bundle import open_bundle
from drlhash_jax.bundles.ids import check_ids
from drlhash_jax.bundles.manifest import MANIFEST, locate, read_manifest
from drlhash_jax.errors import UserError
from drlhash_jax.files import sha256_of


def find_faults(path: str | Path) -> list[str]:
    """Checks the digest of every file, then everything that `open_bundle` checks, and all ids.

    Args:
      path: the bundle.

    Returns:
      One line for each fault, naming the file; none if all is well.
    """
    folder = Path(path)
    try:
        manifest = read_manifest(folder)
    except UserError as error:
        return [str(error)]
    faults = []
    for part in manifest.parts:
        for name, file in part.files.items():
            try:
                if sha256_of(locate(folder, part, name)) != file.sha256:
                    path = folder / part.folder / name
                    faults.append(f"{path}: its SHA-256 is not the one in {MANIFEST}; it is damaged")
            except UserError as error:
                faults.append(str(error))
            except OSError as error:
                faults.append(f"{folder / part.folder / name} cannot be read: {error.strerror or error}")
    if faults:
        return faults
    try:
        check_ids(open_bundle(folder).ids(), str(folder))
    except UserError as error:
        return [str(error)]
    return []


def check_bundle(path: str | Path) -> None:
    """Refuses a bundle with a fault: what is made of its codes would carry the damage on under a new digest.

    Raises:
      UserError: the first fault.
    """
    if faults := find_faults(path):
        raise UserError(faults[0])
