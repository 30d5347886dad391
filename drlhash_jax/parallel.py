"""One body for any number of devices: the collectives that it needs, and the ways to run it on all of them.

The contract of a body: every argument is replicated, it takes its device's share with `local_rows`, and every result is
the same on all devices. It gets the name of the device axis as ``axis_name``, or None under plain `jit`. With None, and
with one device, each helper here is the identity: such programs compute bit for bit the same. (A psum over one device
would keep XLA from fusing across it, and round differently.)

Gradients come from one recipe that is right under `shard_map` and `pmap` alike: `vary` the parameters, differentiate
the device's share of the loss, `total` the gradients. Without `vary`, `shard_map` adds the devices' gradients itself,
and they come out too large by the number of devices; Adam and clipping hide that from every loss curve.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from drlhash_jax.types import Array

AXIS = "data"
WRAPPERS = ("shard_map", "pmap")


class Devices(NamedTuple):
    """The devices that share the work.

    Attributes:
      mesh: all of them along one axis, those of other processes included.
      wrapper: "shard_map" or "pmap".
    """

    mesh: Mesh
    wrapper: str = "shard_map"


def find_devices(wrapper: str = "shard_map") -> Devices:
    """All devices of all processes."""
    return Devices(Mesh(np.array(jax.devices()), (AXIS,)), wrapper)


def num_shards(axis_name: str | None) -> int:
    """Number of devices along the axis, a Python int."""
    return 1 if axis_name is None else jax.lax.axis_size(axis_name)


def vary(tree: Any, axis_name: str | None) -> Any:
    """Marks replicated arrays as different on each device, so that gradients in them stay the device's own."""
    if num_shards(axis_name) == 1:
        return tree
    return jax.tree.map(lambda x: jax.lax.pcast(x, axis_name, to="varying"), tree)


def total(tree: Any, axis_name: str | None) -> Any:
    """Sums over devices; not for use inside what is differentiated, see `differentiable_total`."""
    return tree if num_shards(axis_name) == 1 else jax.lax.psum(tree, axis_name)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def differentiable_total(x: Array, axis_name: str | None) -> Array:
    """Sum over devices where every device goes on to compute the same loss from it.

    The gradient of that one loss in a device's summand is the gradient in the sum. The built-in derivative of psum
    says so under `shard_map` and multiplies by the number of devices under `pmap`.
    """
    return total(x, axis_name)


def _total_forward(x, axis_name):
    return total(x, axis_name), None


def _total_backward(axis_name, _, cotangent):
    return (vary(cotangent, axis_name),)


differentiable_total.defvjp(_total_forward, _total_backward)


def local_rows(tree: Any, axis_name: str | None, axis: int = 0) -> Any:
    """This device's share of replicated arrays: an equal, contiguous part of `axis`.

    Raises:
      ValueError: the axis does not divide by the number of devices.
    """
    if num_shards(axis_name) == 1:
        return tree

    def take(x: Array) -> Array:
        share, rest = divmod(x.shape[axis], num_shards(axis_name))
        if rest:
            raise ValueError(f"{x.shape[axis]} rows do not divide by {num_shards(axis_name)} devices")
        return jax.lax.dynamic_slice_in_dim(x, jax.lax.axis_index(axis_name) * share, share, axis)

    return jax.tree.map(take, tree)


def gather_rows(tree: Any, axis_name: str | None, axis: int = 0) -> Any:
    """Inverse of `local_rows`: every device's share, in order, on every device.

    A sum of shares filled up with zeros, since `shard_map` accepts the result of psum as replicated, and that of
    all_gather not. Adding zeros is exact.

    It may stand inside what is differentiated, for losses over pairs and triplets of a batch that devices share: where
    each device goes on to compute its own share of the loss from all rows, the gradient in a device's rows is the sum
    of what all shares say about them, under `shard_map` and `pmap` alike.
    """
    if num_shards(axis_name) == 1:
        return tree

    def gather(x: Array) -> Array:
        share = x.shape[axis]
        shape = [*x.shape[:axis], share * num_shards(axis_name), *x.shape[axis + 1 :]]
        as_summed = x.astype(jnp.int32) if x.dtype == bool else x
        place = jax.lax.axis_index(axis_name) * share
        filled = jax.lax.dynamic_update_slice_in_dim(jnp.zeros(shape, as_summed.dtype), as_summed, place, axis)
        return total(filled, axis_name).astype(x.dtype)

    return jax.tree.map(gather, tree)


def pad_rows(tree: Any, multiple: int) -> Any:
    """Appends rows of zeros up to the next multiple."""
    pad = lambda x: jnp.pad(x, [(0, -x.shape[0] % multiple)] + [(0, 0)] * (x.ndim - 1))
    return jax.tree.map(pad, tree)


def replicate(tree: Any, devices: Devices | None) -> Any:
    """Places arrays on every device, once, for a body that is called many times.

    Args:
      tree: arrays, equal in all processes.
      devices: Devices; None for the default device.
    """
    if devices is None:
        return jax.tree.map(jnp.asarray, tree)
    sharding = NamedSharding(devices.mesh, PartitionSpec())
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    def place(x: Any) -> Array:
        if isinstance(x, jax.Array) and not x.is_fully_addressable:
            return x
        if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(place(jax.random.key_data(x)))
        return jax.make_array_from_process_local_data(sharding, np.asarray(x))

    return jax.tree.map(place, tree)


def fetch(tree: Any, devices: Devices | None) -> Any:
    """A body's results as arrays of this process alone, on one device."""
    if devices is None:
        return tree
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


@functools.cache
def wrap_step(
    body: Callable, devices: Devices | None, *, donate_argnums: tuple[int, ...] = (), **static: Any
) -> Callable:
    """Compiles a body for the devices; the same arguments give the same compiled object.

    Args:
      body: function of replicated arrays, and of the keywords in `static` and ``axis_name``.
      devices: Devices; None for plain `jit` on the default device.
      donate_argnums: positions of the arguments whose memory the results may take.
      **static: hashable keywords of the body.

    Returns:
      A function of the body's arrays.
    """
    if devices is None:
        return jax.jit(functools.partial(body, axis_name=None, **static), donate_argnums=donate_argnums)
    step = functools.partial(body, axis_name=AXIS, **static)
    if devices.wrapper == "pmap":
        return _wrap_pmap(step, devices, donate_argnums)
    replicated = PartitionSpec()
    mapped = jax.shard_map(step, mesh=devices.mesh, in_specs=replicated, out_specs=replicated)
    compiled = jax.jit(mapped, donate_argnums=donate_argnums)
    if jax.process_count() == 1:
        return compiled
    return lambda *arguments: compiled(*replicate(arguments, devices))


def _wrap_pmap(step: Callable, devices: Devices, donate_argnums: tuple[int, ...]) -> Callable:
    def call(*arguments):
        # One mapped argument is compulsory, so the devices' numbers go first.
        mapped = _pmapped(step, devices, donate_argnums, len(arguments))
        return mapped(np.arange(len(devices.mesh.local_devices)), *arguments)

    return call


@functools.cache
def _pmapped(step: Callable, devices: Devices, donate_argnums: tuple[int, ...], num_arguments: int) -> Callable:
    return jax.pmap(
        lambda number, *arguments: step(*arguments),
        AXIS,
        in_axes=(0, *[None] * num_arguments),
        out_axes=None,
        devices=list(devices.mesh.devices.flat),
        donate_argnums=tuple(place + 1 for place in donate_argnums),
    )
