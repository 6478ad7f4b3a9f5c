"""What the norms refuse, in one place: the exception is torch's, the message names the cure.

The functions named ``require_...`` look at a tensor or a number and return nothing; the others
return their NumPy argument, ready to compute with.
"""

import math
import numbers

import numpy as np
import torch
from torch import fx


def floating_array(x, name="x"):
    """Return ``x`` as a NumPy array of floating point; refuse everything else."""
    if isinstance(x, torch.Tensor):
        raise TypeError(
            f"{name} is a torch.Tensor; this function takes NumPy arrays: {name}.detach().numpy()"
        )
    if x is None:
        raise TypeError(f"{name} is None; expected an array: np.ones or np.zeros of its shape")
    x = np.asarray(x)
    if np.iscomplexobj(x):
        raise TypeError(f"{name} has dtype {x.dtype}; expected real numbers: {name}.real")
    if not np.issubdtype(x.dtype, np.floating):
        raise TypeError(
            f"{name} has dtype {x.dtype}; expected floating point: {name}.astype(float)"
        )
    return x


def upstream(dy, y):
    """Return ``dy`` as an array of floating point in the shape of ``y``; refuse everything else."""
    dy = floating_array(dy, "dy")
    if dy.shape != y.shape:
        raise ValueError(f"dy has shape {dy.shape}; expected that of y, {y.shape}")
    return dy


def channel_vector(parameter, x, name):
    """Return a ``(C,)`` parameter shaped to broadcast along axis 1 of ``x``."""
    parameter = floating_array(parameter, name)
    if x.ndim < 2:
        raise ValueError(
            f"x has shape {x.shape}; expected (N, C) or (N, C, *): x[None] adds a batch"
        )
    if parameter.shape != (x.shape[1],):
        raise ValueError(
            f"{name} has shape {parameter.shape}, but x of shape {x.shape} has C = {x.shape[1]} "
            f"channels on axis 1: expected {name} of shape ({x.shape[1]},)"
        )
    return parameter.reshape(1, -1, *[1] * (x.ndim - 2))


def require_space(x):
    """Refuse an array (N, C): it has no axis of space, over which to take statistics."""
    if x.ndim < 3:
        raise ValueError(
            f"x has shape {x.shape}; expected (N, C, *) with one or more axes of space: one sample "
            "(C, L) lacks the batch, x[None]"
        )


def trailing_parameter(parameter, x, name):
    """Return a parameter whose shape is that of the last axes of ``x``."""
    parameter = floating_array(parameter, name)
    if not x.ndim:
        raise ValueError("x is a single number; expected an axis of features: x.reshape(1)")
    if not parameter.ndim:
        raise ValueError(
            f"{name} is a single number; expected one for each feature: np.full({x.shape[-1:]}, "
            f"{parameter})"
        )
    if parameter.shape != x.shape[-parameter.ndim :]:
        raise ValueError(
            f"{name} has shape {parameter.shape}, but x has shape {x.shape}: expected the last "
            f"axes of x, such as {x.shape[-1:]}"
            + _elsewhere(parameter.shape, x.shape, "np.moveaxis(x, {}, -1)")
        )
    return parameter


def lengths(g, v):
    """Return the lengths ``g`` of the parts of ``v``: along each axis one, or as many as ``v`` has."""
    g = floating_array(g, "g")
    if not v.ndim:
        raise ValueError("v is a single number; expected an axis of outputs: v.reshape(1)")
    if g.ndim != v.ndim or any(n not in (1, m) for n, m in zip(g.shape, v.shape, strict=True)):
        expected = (v.shape[0], *[1] * (v.ndim - 1))
        cure = f": g.reshape{expected}" if g.size == v.shape[0] else ""
        raise ValueError(
            f"g has shape {g.shape}, but v has shape {v.shape}: expected g of shape {expected}, "
            f"a length for each output{cure}"
        )
    return g


def row_vector(u, w, name):
    """Return a vector with a number for each row of ``w``, taken as a matrix."""
    u = floating_array(u, name)
    if not w.ndim:
        raise ValueError("w is a single number; expected an axis of outputs: w.reshape(1)")
    if u.shape != w.shape[:1]:
        raise ValueError(
            f"{name} has shape {u.shape}, but w of shape {w.shape} has {w.shape[0]} rows: expected "
            f"{name} of shape {w.shape[:1]}, such as np.random.default_rng(0).normal(size={w.shape[0]})"
        )
    return u


def require_positive_count(n, name):
    """Refuse a number of repetitions that is no integer, or not positive."""
    if not isinstance(n, numbers.Integral):
        raise TypeError(f"{name} is a {type(n).__name__}; expected an integer, such as {name}=1")
    if n < 1:
        raise ValueError(
            f"Expected {name} to be positive, but got {name}={n}: take at least {name}=1"
        )


def require_parameter(module, name, error):
    """Refuse a module without a tensor of that name; with ``error`` if it is none, or no module."""
    if not isinstance(module, torch.nn.Module):
        raise error(
            f"module is a {type(module).__name__}; expected a torch.nn.Module with a parameter "
            f"{name!r}, such as a layer, not its weight"
        )
    found = getattr(module, name, None)
    if not isinstance(found, torch.Tensor):
        named = [key for key, _ in module.named_parameters(recurse=False)]
        raise (error if name in module._parameters else ValueError)(
            f"{type(module).__name__} has no parameter or buffer {name!r}; it has "
            f"{', '.join(named) or 'none itself: name one of its layers'}"
        )
    if torch.nn.parameter.is_lazy(found):
        raise RuntimeError(
            f"Can't access the shape of {name!r}, which a lazy layer does not know yet: run a batch "
            "through the layer first, module(x)"
        )


def require_axis(x, dim):
    """Refuse a number that is not that of an axis of a tensor."""
    if not isinstance(dim, numbers.Integral) or isinstance(dim, bool):
        raise TypeError(f"dim is a {type(dim).__name__}; expected an integer, such as dim=0")
    if not x.dim():
        raise IndexError("a single number has no axes, and no dim; give it one: reshape(1)")
    if not -x.dim() <= dim < x.dim():
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-x.dim()}, {x.dim() - 1}], but "
            f"got {dim}): the parameter has shape {tuple(x.shape)}; take the axis of its outputs"
        )


def require_axes(x, shape):
    """Refuse a tensor with fewer axes than ``shape``."""
    require_tensor(x)
    if x.dim() < len(shape):
        raise ValueError(
            f"input of shape {tuple(x.shape)} has {x.dim()} axes; expected at least {len(shape)}, "
            f"the last ones of sizes {shape}: x.unsqueeze(0) adds one"
        )


def require_trailing_shape(x, shape):
    """Refuse a tensor whose last axes are not ``shape``."""
    require_tensor(x)
    if not shape:
        raise RuntimeError(
            "normalized_shape is empty: expected the sizes of one or more last axes, such as 512"
        )
    if tuple(x.shape[-len(shape) :]) != shape:
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape "
            f"[*, {', '.join(map(str, shape))}], but got input of size {list(x.shape)}"
            + _elsewhere(shape, tuple(x.shape), "x.movedim({}, -1)")
        )


def _elsewhere(shape, found, cure):
    """Name the axis that has the size looked for, if it is not the last, and how to move it."""
    if len(shape) != 1 or shape[0] not in found[:-1]:
        return ""
    axis = found.index(shape[0])
    return f". Axis {axis} has size {shape[0]}: {cure.format(axis)} moves it to the end"


def require_not_negative_eps(eps):
    """Refuse an ``eps`` that is no number, or would be subtracted."""
    require_number(eps)
    if eps < 0:
        raise ValueError(f"eps is {eps}; expected a number that is not negative, such as 1e-5")


def require_positive_eps(eps):
    """Refuse an ``eps`` that is no number, or could divide by zero."""
    require_number(eps)
    if not eps > 0:
        raise ValueError(f"eps is {eps}; expected a positive number, such as 1e-5")


def require_number(eps):
    """Refuse an ``eps`` that is a string, an array or nothing."""
    if not isinstance(eps, numbers.Real):
        cure = f"float({eps!r})" if isinstance(eps, str) else "such as 1e-5"  # YAML reads "1e-5"
        raise TypeError(f"eps is a {type(eps).__name__}; expected a number: {cure}")


def require_tensor(x):
    """Refuse everything but a tensor of one shape."""
    if isinstance(x, fx.Proxy):
        raise TypeError(
            "torch.fx traces into this layer, as into all that are not torch's; make it a leaf: a "
            "subclass of torch.fx.Tracer whose is_leaf_module returns True for it"
        )
    if isinstance(x, torch.Tensor) and x.is_nested:
        raise NotImplementedError(
            "input is a nested tensor; fill it up first: x.to_padded_tensor(0.0)"
        )
    if not isinstance(x, torch.Tensor):
        raise TypeError(
            f"input is a {type(x).__name__}; expected a torch.Tensor: torch.as_tensor(x)"
        )


def require_rank(x, ranks):
    """Refuse a tensor whose number of dimensions is not one of ``ranks``."""
    require_dimensions(x, *({2: "NC", 3: "NCL", 4: "NCHW", 5: "NCDHW"}[rank] for rank in ranks))


def require_dimensions(x, *shapes):
    """Refuse a tensor with as many dimensions as none of ``shapes``: a letter for each."""
    require_tensor(x)
    if x.dim() not in [len(shape) for shape in shapes]:
        ranks = " or ".join(f"{len(shape)}D" for shape in shapes)
        named = " or ".join(f"({', '.join(shape)})" for shape in shapes)
        raise ValueError(
            f"expected {ranks} input (got {x.dim()}D input of shape {tuple(x.shape)}): give it {named}"
        )


def require_more_than_one_value(x, axes):
    """Refuse statistics over a single value: its deviation is zero and its output constant."""
    if all(x.shape[axis] == 1 for axis in axes):
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {tuple(x.shape)}: "
            "give a larger batch, drop the last incomplete one (DataLoader(drop_last=True)), "
            "or call eval() to use the running statistics"
        )


def require_more_than_one_place(x):
    """Refuse maps of a single place: the place is its own mean, and the output constant."""
    if all(size == 1 for size in x.shape[2:]):
        raise ValueError(
            f"Expected more than 1 spatial element when training, got input size {tuple(x.shape)}: "
            "normalize larger maps, before the last pooling or stride; without space GroupNorm and "
            "LayerNorm have the channels"
        )


def require_batch_and_channels(x):
    """Refuse a tensor that does not have an axis of channels behind that of samples."""
    require_tensor(x)
    if x.dim() < 2:
        raise RuntimeError(
            f"Expected at least 2 dimensions for input tensor but received {x.dim()}, shape "
            f"{tuple(x.shape)}: give it (N, C) or (N, C, *); x.unsqueeze(0) adds a batch"
        )


def require_more_than_one_value_per_group(x, num_groups):
    """Refuse what torch refuses: a single sample with a single value in each group of channels."""
    if x.shape[0] * x.shape[1] // num_groups * math.prod(x.shape[2:]) == 1:
        raise ValueError(
            f"Expected more than 1 value per group, got input size {tuple(x.shape)} and "
            f"{num_groups} groups: each value is its own mean; give it larger maps, or take "
            "fewer groups"
        )


def require_divisor(num_groups, channels, error):
    """Refuse a number of groups that does not divide that of channels: with ``error``."""
    if not isinstance(num_groups, numbers.Integral):
        raise TypeError(
            f"num_groups is a {type(num_groups).__name__}; expected an integer: num_groups=1"
        )
    if num_groups < 1 or channels % num_groups:
        divisors = ", ".join(str(d) for d in range(1, channels + 1) if channels % d == 0)
        raise error(
            f"{channels} channels cannot be divided into num_groups={num_groups} groups of the "
            f"same size: take num_groups from {divisors}"
        )


def require_channels(x, named_tensors):
    """Refuse parameters and buffers that do not have one entry per channel of ``x``."""
    for name, tensor in named_tensors.items():
        if tensor is not None and tensor.numel() != x.shape[1]:
            raise RuntimeError(
                f"{name} should contain {x.shape[1]} elements not {tensor.numel()}: the input of "
                f"shape {tuple(x.shape)} has {x.shape[1]} channels on axis 1, the layer was built "
                f"for {tensor.numel()}"
            )


def require_floating_point(x):
    """Refuse a tensor of integers, booleans or complex numbers."""
    if x.is_complex():
        raise NotImplementedError(
            f"normalization is not implemented for {x.dtype}; give real numbers: torch.view_as_real(x)"
        )
    if not x.is_floating_point():
        raise NotImplementedError(
            f"normalization is not implemented for {x.dtype}; give floating point: x.float()"
        )


def require_one_dtype(named_tensors):
    """Refuse tensors of several dtypes."""
    if len({tensor.dtype for tensor in named_tensors.values()}) > 1:
        listed = ", ".join(f"{name} {tensor.dtype}" for name, tensor in named_tensors.items())
        raise RuntimeError(f"mixed dtype: {listed}; convert all, such as layer.float()")


def require_same_dtype(x, named_tensors):
    """Refuse integers, and mixed dtypes except half-precision input with float32 parameters."""
    require_floating_point(x)
    dtypes = {name: tensor.dtype for name, tensor in named_tensors.items() if tensor is not None}
    half = x.dtype in (torch.float16, torch.bfloat16)
    if set(dtypes.values()) - {x.dtype} and not (half and set(dtypes.values()) == {torch.float32}):
        listed = ", ".join(f"{name} {dtype}" for name, dtype in dtypes.items())
        raise RuntimeError(
            f"mixed dtype: the input is {x.dtype}, but {listed}: convert one, x.to(layer.weight.dtype) "
            f"or layer.to({x.dtype})"
        )
