"""Hashing in scikit-learn's manner: the model of `fit` as an estimator of arrays."""

import tempfile
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from drlhash_jax import bundles
from drlhash_jax.codes import as_codes
from drlhash_jax.errors import UserError
from drlhash_jax.fitting.fit import Choice, Fitted, embeddings_fit, fit
from drlhash_jax.runs import ModelRecord, assemble_model, encode, read_model, write_model
from drlhash_jax.serving import load

_DTYPES = (np.float32, np.float16, np.float64)


def _as_labels(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels as `fit` reads them, integers ``[N]`` or multi-hot ``[N, C]``, and the classes that they stand for."""
    if y.ndim == 2 and y.shape[1] > 1:
        return y, np.arange(y.shape[1])
    y = y.ravel()
    if y.dtype.kind in "iu":
        return y, np.unique(y[y >= 0])
    classes, numbers = np.unique(y, return_inverse=True)
    return numbers, classes


def _train(X: np.ndarray, labels: np.ndarray, choice: Choice) -> tuple[Fitted, ModelRecord]:
    """The same as the command ``fit`` on files of these arrays."""
    with tempfile.TemporaryDirectory(prefix="drlhash-") as folder:
        files = {name: str(Path(folder, f"{name}.npy")) for name in ("X", "y")}
        np.save(files["X"], X)
        np.save(files["y"], labels)
        try:
            fitted = fit(embeddings_fit(files["X"], files["y"], choice), Path(folder, "run"))
        except UserError as error:
            text = str(error)
            for start in ("--config.data.path=", "--config.data.labels_path=", "--labels: ", ""):
                for name, path in files.items():
                    text = text.replace(f"{start}{path}", name)
            raise UserError(text.removeprefix("--labels: ")) from error
        return fitted, read_model(Path(folder, "run/model"))


class Hasher(TransformerMixin, BaseEstimator):
    """Embeddings with labels to binary codes, by the same training as the command ``fit``, bit for bit.

    It passes scikit-learn's `check_estimator` but for `check_n_features_in_after_fitting`, `check_estimators_nan_inf`
    and `check_fit2d_1feature`. These fit 10 or 15 rows; rows are divided into those to learn from, to search in and to
    search for, and fewer than 20 are refused.

    Args:
      bits: K, length of the codes.
      method: a key of `METHODS`; "" for that of ``fit``.
      seed: of the rows that are kept back, and of the training.

    Attributes:
      classes_: labels ``[C]``.
      n_features_in_: D.
      map_: mean average precision on rows that were kept back.
      precision_: mean share of their 10 nearest rows that have a right label.
      codes_: packed codes uint8 ``[N, ceil(K / 8)]`` of the rows that were fitted, which `search` looks at.
      record_: the model as it is saved.

    A hasher that was loaded has `record_` and `n_features_in_` alone.
    """

    def __init__(self, bits: int = 64, *, method: str = "", seed: int = 0):
        self.bits = bits
        self.method = method
        self.seed = seed

    def __sklearn_tags__(self) -> Tags:
        """What scikit-learn asks."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def fit(self, X: Any, y: Any) -> Self:
        """Learns codes; half of the rows at most are trained on, and the codes are measured on the others.

        Args:
          X: array ``[N, D]`` of numbers.
          y: labels ``[N]`` of any kind, negative integers for none, or multi-hot ``[N, C]``.

        Returns:
          Itself.

        Raises:
          UserError: rows, labels, bits or method that cannot work.
          ValueError: arrays that are none, of other shapes, or not finite.
        """
        X, y = validate_data(self, X, y, dtype=_DTYPES, multi_output=True, ensure_min_samples=2)
        labels, self.classes_ = _as_labels(y)
        fitted, self.record_ = _train(X, labels, Choice(self.bits, self.method, self.seed))
        self.map_, self.precision_ = fitted.row["map"], fitted.precision
        self.codes_ = np.packbits(self._encode(X, "database"), axis=1)
        return self

    def _encode(self, X: np.ndarray, role: str) -> np.ndarray:
        """Codes uint8 ``[N, K]``, by the function of that role where the method has two."""
        return encode(assemble_model(self.record_, "this hasher"), X, role=role)

    def _checked(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        # As files of such numbers are read.
        X = validate_data(self, X, dtype=_DTYPES, reset=False)
        return X if X.dtype == np.float16 else X.astype(np.float32, copy=False)

    def transform(self, X: Any) -> np.ndarray:
        """Codes of rows that may be searched: uint8 ``[N, K]`` of {0, 1}.

        Args:
          X: array ``[N, D]`` of numbers.

        Raises:
          ValueError: arrays of another width, or not finite; or nothing was fitted.
        """
        return self._encode(self._checked(X), "database")

    def search(self, X: Any, k: int = 10, database: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """The nearest rows by Hamming distance.

        Args:
          X: array ``[Q, D]``, the queries.
          k: at least 1.
          database: codes {0, 1} ``[N, K]`` from `transform`; None for the rows that were fitted.

        Returns:
          distances int32 and rows int64, ``[Q, min(k, N)]`` each, ascending by (distance, row).

        Raises:
          UserError: codes of another length, k below 1, or no codes at all.
          ValueError: as in `transform`.
        """
        queries = np.packbits(self._encode(self._checked(X), "query"), axis=1)
        if database is not None:
            database = as_codes(database, "database")
            if database.shape[1] != self.record_.num_bits:
                raise UserError(f"database has {database.shape[1]} bits, this hasher {self.record_.num_bits}")
            return bundles.search(queries, np.packbits(database, axis=1), k)
        if not hasattr(self, "codes_"):
            raise UserError("a loaded hasher has no rows: give search(..., database=transform(rows))")
        return bundles.search(queries, self.codes_, k)

    def save(self, path: str | Path) -> None:
        """Writes the model, which ``encode --model`` and `load` take.

        Args:
          path: its directory; must not exist.

        Raises:
          UserError: something is there, or it cannot be written.
        """
        check_is_fitted(self)
        if Path(path).exists():
            raise UserError(f"{path} is there already: give another name")
        write_model(Path(path), self.record_)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads a model of embeddings.

        Args:
          path: its directory, or that of the run that made it.

        Raises:
          UserError: no model, a damaged one, or one that reads images.
        """
        record = read_model(load(path).folder)
        if len(record.input_shape) != 1:
            raise UserError(f"{path} reads images: use drlhash_jax.load(path).encode_images")
        hasher = cls(record.num_bits, method=record.method_name, seed=record.config["seed"])
        hasher.record_, hasher.n_features_in_ = record, record.input_shape[0]
        return hasher
