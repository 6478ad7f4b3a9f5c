r"""Weight normalization: a weight is a direction v, brought to a length g of its own.

Tim Salimans and Diederik P. Kingma, *Weight Normalization: A Simple Reparameterization to
Accelerate Training of Deep Neural Networks*, NeurIPS 2016, arXiv:1602.07868.
"""

from functools import partial

from torch import nn
from torch.nn.utils import parametrize

from norms import checks
from norms.moments import at_least_float32

__all__ = ["weight_norm", "weight_norm_backward", "weight_norm_forward"]


def weight_norm_forward(v, g):
    r"""Divide the weights of every output by their length, then multiply by a length to learn.

    .. math:: w = \frac{g}{\lVert v \rVert}\, v, \qquad \lVert v \rVert^2 = \sum_{*} v^2

    Args:
        v: direction, array of shape (out, \*), floating point; \* is any number of axes, such as
            (in,) or (in, kH, kW).
        g: length, shape (out, 1, ...): 1 in the place of every axis of \*. Where it has 1 for
            other axes, the sums are over those.

    Returns:
        ``w, cache``: ``w`` in the shape of ``v``; ``cache`` for :func:`weight_norm_backward`.

    Raises:
        TypeError: an argument is not a NumPy array of floating point.
        ValueError: the shape of ``g`` does not fit that of ``v``.

    Note:
        The length of the result is :math:`\lvert g \rvert`; a negative ``g`` turns the weight
        around. There is no eps: where ``v`` is zero it has no direction, and the result is NaN.
        Half precision is computed in float32.

    References:
        Salimans and Kingma 2016, arXiv:1602.07868, equation 2.
    """
    v = checks.floating_array(v, "v")
    g = checks.lengths(g, v)
    wide, axes = at_least_float32(v), tuple(axis for axis, n in enumerate(g.shape) if n == 1)
    w, length = _brought_to_length(wide, at_least_float32(g), axes)
    # w (out, *), length (out, 1, ...)
    return w.astype(v.dtype), (wide, g, length)


def weight_norm_backward(dy, cache):
    r"""Differentiate :func:`weight_norm_forward`; the length of ``v`` depends on ``v``.

    .. math::
        \mathrm{d}g = \frac{\sum_{*} \mathrm{d}w\, v}{\lVert v \rVert}, \qquad
        \mathrm{d}v = \frac{g}{\lVert v \rVert}\, \mathrm{d}w
        - \frac{g\, \mathrm{d}g}{\lVert v \rVert^2}\, v

    The second term takes from the first what lies along ``v``, so :math:`\mathrm{d}v \perp v`.

    Args:
        dy: gradient of the loss with respect to the weight, :math:`\mathrm{d}w`, in its shape.
        cache: from :func:`weight_norm_forward`.

    Returns:
        ``dv, dg`` of shapes (out, \*), (out, 1, ...).

    Raises:
        ValueError: ``dy`` does not have the shape of the weight.

    References:
        Salimans and Kingma 2016, arXiv:1602.07868, equation 3.
    """
    v, g, length = cache
    dw = at_least_float32(dy := checks.upstream(dy, v))
    axes = tuple(axis for axis, n in enumerate(g.shape) if n == 1)
    dg = (dw * v).sum(axis=axes, keepdims=True) / length  # (out, 1, ...)
    scale = g / length
    dv = scale * dw - (scale * dg / length) * v
    return dv.astype(dy.dtype), dg.astype(g.dtype)


def weight_norm(module, name="weight", dim=0):
    r"""Let a layer learn the length and the direction of its weight: as torch's ``weight_norm``.

    .. math:: w = \frac{g}{\lVert v \rVert}\, v

    ``module.weight`` is computed from the parameters ``module.parametrizations.weight.original0``
    (:math:`g`) and ``.original1`` (:math:`v`) whenever it is read. They start as the length of the
    weight and the weight itself, so the layer does not change; an assignment,
    ``module.weight = w``, sets both anew. Training and evaluation are the same function. A
    stand-in for ``torch.nn.utils.parametrizations.weight_norm``.

    Args:
        module: the layer; it is changed.
        name: of the parameter.
        dim: the axis with a length for each place; the sums are over all the others. 0 for the
            outputs of a linear layer or convolution. None for one length of the whole weight, and
            -1 too, as in torch; other negative axes are counted from the end.

    Returns:
        The same ``module``.

    Raises:
        ValueError: there is no parameter or buffer of that name.
        AttributeError: it is None, or ``module`` is not a module.
        TypeError: ``dim`` is no integer, or the parameter has a parametrization already.
        IndexError: the parameter does not have the axis.
        RuntimeError: length and direction have been given different dtypes, or the layer is lazy.
        NotImplementedError: a parameter that is not floating point.

    Note:
        To fold the two into one parameter, which costs nothing to read:
        ``torch.nn.utils.parametrize.remove_parametrizations(module, "weight")``. An optimizer
        must be made after both steps, for they make new parameters. Transposed convolutions have
        their outputs on axis 1. There is no eps: a row of zeros is NaN, as in torch. Second
        derivatives are right for every ``dim``; torch's (2.13) take the length for a constant for
        0 and the last axis. Half precision is computed in float32. Checkpoints of the older
        ``torch.nn.utils.weight_norm`` load, with ``weight_g`` and ``weight_v``.

    References:
        Salimans and Kingma 2016, arXiv:1602.07868, equation 2.
    """
    checks.require_parameter(module, name, AttributeError)
    if parametrize.is_parametrized(module, name):
        raise TypeError(
            f"{name} has a parametrization already, and weight norm makes it from two parameters: "
            "register weight norm first, or remove the other: "
            f"torch.nn.utils.parametrize.remove_parametrizations(module, {name!r})"
        )
    # Here, since torch takes a NotImplementedError of right_inverse for "it is the identity".
    checks.require_floating_point(getattr(module, name))
    parametrize.register_parametrization(module, name, _WeightNorm(dim), unsafe=True)
    module.register_load_state_dict_pre_hook(partial(_take_old_names, name=name))
    return module


class _WeightNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = -1 if dim is None else dim  # in torch both are the whole weight

    def forward(self, g, v):
        checks.require_one_dtype({"original0": g, "original1": v})
        wide = at_least_float32(v).contiguous()  # and so is the result, as torch's
        return _brought_to_length(wide, at_least_float32(g), self._axes(v))[0].to(v.dtype)

    def right_inverse(self, weight):
        checks.require_tensor(weight)
        checks.require_axis(weight, self.dim)
        g = _length(at_least_float32(weight), self._axes(weight)).to(weight.dtype)
        return (g.reshape(()) if self.dim == -1 else g), weight

    def _axes(self, weight):
        every = range(weight.dim())
        one = None if self.dim == -1 else self.dim % weight.dim()
        return tuple([axis for axis in every if axis != one])  # a list: the compiler needs one


def _brought_to_length(v, g, axes):
    length = _length(v, axes)
    return v * (g / length), length


def _length(v, axes):  # over no axes torch would sum all
    return (v * v).sum(axis=axes, keepdims=True) ** 0.5 if axes else abs(v)


def _take_old_names(module, state_dict, prefix, *_, name):
    """Rename what ``torch.nn.utils.weight_norm`` has stored: the length, then the direction."""
    old = [f"{prefix}{name}_{letter}" for letter in "gv"]
    if parametrize.is_parametrized(module, name) and all(key in state_dict for key in old):
        for i, key in enumerate(old):
            state_dict[f"{prefix}parametrizations.{name}.original{i}"] = state_dict.pop(key)
