"""The commands of the command line, a module each; only that of the command that is asked for is imported.

A module has its flags, and ``run()``. It may have ``complete_arguments(argv)``, which sees the arguments first.
"""

from typing import NamedTuple


class Command(NamedTuple):
    """What help says about a command.

    Attributes:
      summary: what it does, in one line.
      example: arguments of one call.
    """

    summary: str
    example: str


COMMANDS = {
    "train": Command(
        "Run a configuration, from labels to retrieval numbers. The default command.",
        "--config=configs/digits.py --workdir=runs/seed1 --config.seed=1",
    ),
    "eval": Command(
        "Measure the codes of a finished run, or of any other software. Trains nothing.",
        "--workdir=runs/seed1",
    ),
    "compare": Command(
        "Compare methods with one encoder, budget, splits and seeds, in one table and page.",
        "--config=configs/compare_digits.py --workdir=runs/comparison --jobs=2",
    ),
    "ablate": Command(
        "Tell what choosing bits is worth, by pool, selector, length and reward, over seeds.",
        "--config=configs/ablate_digits.py --workdir=runs/ablation",
    ),
    "report": Command(
        "Gather finished runs into tables, figures and one HTML page.",
        "--runs=runs/seed1,runs/seed2 --out=runs/report",
    ),
    "fit": Command(
        "Make a model of your own embeddings or images, and say how good its codes are.",
        "--embeddings=clip.npy --labels=labels.npy --bits=64 --model=runs/clip",
    ),
    "encode": Command(
        "Code images or embeddings by a saved model, into a bundle of codes.",
        "--model=runs/seed1 --images=photos --bundle=photos.drlh",
    ),
    "grow": Command(
        "Add labelled rows to a finished database, of new classes too; old codes stay as they are.",
        "--model=runs/clip --bundle=clip.drlh --embeddings=new.npy --labels=new_labels.npy --out=grown",
    ),
    "query": Command(
        "Find the rows of a bundle nearest to a row, a code, an embedding or an image.",
        "--bundle=photos.drlh --id=sea/beach.jpg --k=5",
    ),
    "video": Command(
        "Code frames of videos into a bundle, and find where a clip occurs in them.",
        "--find=clip.mp4 --bundle=videos.drlh --model=runs/photos",
    ),
    "explore": Command(
        "Write a bundle as one HTML page: thumbnails, and a search that runs in the page.",
        "--bundle=photos.drlh --images=photos --out=photos.html",
    ),
    "dedup": Command(
        "Find groups of rows of a bundle whose codes are equal or near. Removes nothing.",
        "--bundle=photos.drlh --radius=2",
    ),
    "inspect": Command("Tell what is in a bundle of codes.", "--bundle=photos.drlh"),
    "verify": Command("Check every digest of a bundle of codes.", "--bundle=photos.drlh"),
    "seal": Command(
        "Sign the records of a bundle, so that verify --sealed names every one that changes.",
        "--bundle=photos.drlh --key=key.pem",
    ),
    "export": Command(
        "Write a bundle's codes for FAISS, Parquet, PostgreSQL with pgvector, or as .npy.",
        "--bundle=photos.drlh --format=faiss --out=exported",
    ),
    "remove": Command("Take rows out of a bundle of codes.", "--bundle=photos.drlh --ids=gone.txt"),
    "compact": Command("Write a bundle as one segment, without removed rows; or join shards.", "--bundle=photos.drlh"),
    "doctor": Command(
        "Tell what is in order here, and what is not: packages, data, places, devices.",
        "--bundle=photos.drlh --model=runs/photos",
    ),
}
