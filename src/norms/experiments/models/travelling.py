"""Layers whose weight has a norm go from one process to another, which torch's own refuse."""

from torch import nn
from torch.nn.utils import parametrize

from norms.experiments.models.copies import Conv, Linear

__all__ = ["travelling"]


def travelling(layer):
    """Let a layer of R copies be pickled once it has a parametrization of its weight.

    Torch refuses that for every parametrized module; here the parametrization is taken off, sent
    along, and registered again on arrival.

    Args:
        layer: a ``Linear`` or a ``Conv`` without a parametrization; its class is changed.

    Returns:
        The layer.
    """
    layer.__class__ = {Linear: _Linear, Conv: _Conv}.get(type(layer), type(layer))
    return layer


class _Travels:
    def __reduce_ex__(self, protocol):
        if not parametrize.is_parametrized(self, "weight"):
            return super().__reduce_ex__(protocol)
        found = self.parametrizations.weight
        plain = object.__new__(type(self).__bases__[0])  # without torch's class in front
        originals = dict(found.named_parameters(recurse=False))
        # Not read if it need not be: a norm that iterates would be another one afterwards.
        weight = originals.get("original")
        weight = nn.Parameter(self.weight.detach()) if weight is None else weight
        plain.__dict__ = self.__dict__ | {
            "_parameters": self._parameters | {"weight": weight},
            "_modules": {k: m for k, m in self._modules.items() if k != "parametrizations"},
        }
        return _arrived, (plain, found[0], originals)


class _Linear(_Travels, Linear):
    pass


class _Conv(_Travels, Conv):
    pass


def _arrived(layer, norm, originals):
    parametrize.register_parametrization(layer, "weight", norm, unsafe=True)  # and not read
    for name, parameter in originals.items():  # bit by bit as they were
        setattr(layer.parametrizations.weight, name, parameter)
    return layer
