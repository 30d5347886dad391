"""A saved model ready to encode: its files and its method put together again."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.errors import FlaxError

from drlhash_jax.config import load
from drlhash_jax.encoders import InputSpec, prepare_inputs
from drlhash_jax.errors import UserError
from drlhash_jax.methods import Method
from drlhash_jax.runs.model_files import ModelRecord, read_model
from drlhash_jax.training import encode_logits


class Model(NamedTuple):
    """A saved model, ready to encode.

    Attributes:
      method: Method that its parameters belong to.
      params: of the method's logits.
      spec: normalisation of its inputs.
      input_shape: of one training row as stored, e.g. (8, 8, 1).
      num_bits: K; bit k is 1 iff logit k >= 0.
      selections: length -> selector -> pool positions in order of choice.
      image_files: fields of the `ImageSpec` that image files were decoded with; None if inputs were not files.
    """

    method: Method
    params: dict[str, Any]
    spec: InputSpec
    input_shape: tuple[int, ...]
    num_bits: int
    selections: dict[int, dict[str, list[int]]]
    image_files: dict | None


def _num_outputs(model: Model, shape: tuple[int, ...]) -> int:
    """Bits that one input of a shape gets; nothing is computed.

    Raises:
      ValueError: the parameters do not fit it.
    """
    logits = lambda params, x: model.method.logits(params, prepare_inputs(x, model.spec))
    try:
        return jax.eval_shape(logits, model.params, jax.ShapeDtypeStruct((1, *shape), jnp.float32)).shape[1]
    except (FlaxError, KeyError, TypeError, ValueError, AssertionError) as error:
        raise ValueError((str(error).splitlines() or [type(error).__name__])[0].split(" (http")[0]) from error


def _check_parameters(model: Model, folder: str | Path) -> None:
    """Refuses parameters that do not give K logits for an input like those of the training."""
    try:
        num_outputs = _num_outputs(model, model.input_shape)
    except ValueError as error:
        raise UserError(
            f"{folder} is not a saved model: its parameters do not fit its description of {model.num_bits} bits "
            f"({error})"
        ) from error
    if num_outputs != model.num_bits:
        raise UserError(
            f"{folder} is not a saved model: model.json has {model.num_bits} bits, params.safetensors {num_outputs}"
        )


def load_model(folder: str | Path) -> Model:
    """Reads the model of a finished run.

    Args:
      folder: the run's ``model/``, with ``params.safetensors`` and ``model.json``.

    Returns:
      Model.

    Raises:
      UserError: a file is missing or damaged, or the parameters do not belong to the method that is described.
    """
    return assemble_model(read_model(Path(folder)), folder)


def assemble_model(record: ModelRecord, folder: str | Path) -> Model:
    """A model of what is saved of it.

    Args:
      record: ModelRecord.
      folder: where it comes from, for messages.

    Raises:
      UserError: the parameters do not belong to the method that is described.
    """
    try:
        config = load(record.config)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder} is not a saved model: its configuration has no {error}") from error
    except UserError as error:
        raise UserError(f"{folder} is not a saved model: {error}") from error
    if config.run.method != record.method_name:
        raise UserError(f"{folder} is not a saved model: made by {record.method_name}, configured {config.run.method}")
    method = config.make_method(record.num_bits)
    parts = record.input_spec, record.input_shape, record.num_bits, record.selections, record.image_files
    model = Model(method, record.params, *parts)
    _check_parameters(model, folder)
    return model


def encode(
    model: Model, inputs: Any, bits: int | None = None, selector: str | None = None, *, role: str | None = None
) -> np.ndarray:
    """Codes of inputs: bit 1 where the logit is at least 0.

    Args:
      model: Model.
      inputs: uint8 images ``[N, H, W, channels]`` or features ``[N, D]``, as the model was trained on.
      bits: length p of a stored selection; None, with selector None, for all bits.
      selector: who made that selection, e.g. "ppo".
      role: "query" or "database"; may be left out where one function codes both.

    Returns:
      uint8 ``[N, K]`` or ``[N, p]`` of {0, 1}.

    Raises:
      UserError: inputs of another kind or width, no such selection, or no role where there are two functions.
    """
    return (real_codes(model, inputs, bits, selector, role=role) >= 0).astype(np.uint8)


def real_codes(
    model: Model, inputs: Any, bits: int | None = None, selector: str | None = None, *, role: str | None = None
) -> np.ndarray:
    """Logits float32 ``[N, K]`` or ``[N, p]``, whose signs are the codes; arguments and errors as in `encode`."""
    _check_inputs(model, inputs)
    if role not in ("query", "database", None) or (role is None and model.method.database_logits):
        raise UserError(f'role={role}: this model codes queries and the database apart; give "query" or "database"')
    logits = encode_logits(model.method.logits_for(role or "query"), model.params, inputs, model.spec)
    return logits[:, selected_bits(model, bits, selector)]


def selected_bits(model: Model, bits: int | None, selector: str | None) -> np.ndarray:
    """Pool positions int64 ``[p]`` of a stored selection; all of them if none is asked for.

    Raises:
      UserError: there is no such selection.
    """
    if bits is None and selector is None:
        return np.arange(model.num_bits)
    if bits is None or selector is None:
        raise UserError(f"bits={bits}, selector={selector}: give both, or neither for all bits")
    if selector not in model.selections.get(bits, {}):
        stored = [f"{length} {name}" for length, names in model.selections.items() for name in names]
        raise UserError(f"no {bits} bits by {selector} in this model; it has {', '.join(stored) or 'no selections'}")
    return np.array(model.selections[bits][selector])


def _check_inputs(model: Model, inputs: Any) -> None:
    """Refuses inputs that the model cannot read, or that are of another type than those that it was trained on."""
    shape, kind = tuple(inputs.shape), model.spec.kind
    wanted = f"{kind} [N, {', '.join(map(str, model.input_shape))}]"
    if len(shape) != 1 + len(model.input_shape) or shape[-1] != model.input_shape[-1]:
        raise UserError(f"inputs are {list(shape)}; this model reads {wanted}")
    if kind == "images" and np.dtype(inputs.dtype) != np.uint8:
        raise UserError(f"inputs are {inputs.dtype}; this model reads images of uint8")
    if shape[1:] != model.input_shape:
        # Some encoders read images of any size.
        try:
            _num_outputs(model, shape[1:])
        except ValueError as error:
            raise UserError(f"inputs are {list(shape)}; this model reads {wanted} ({error})") from error
