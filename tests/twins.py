"""Our layer and torch's side by side: what the tests of every norm do in the same way."""

import copy
import inspect
import itertools
import os
import pickle
import re
import shutil

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call, grad, stack_module_state, vjp, vmap
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize
from torch.testing import assert_close

import norms

F64 = torch.float64
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
both_modes = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
every_half = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
every_conversion = pytest.mark.parametrize("convert", ["half", "bfloat16", "float", "double"])

LAYOUTS = {  # of (4, 3, 5, 5); the last axis keeps its length
    "transposed": lambda x: x.transpose(2, 3),
    "every other row": lambda x: x[:, :, ::2],
    "part of a batch": lambda x: x[1:3],
    "channels moved last": lambda x: x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
    "one row repeated": lambda x: x[:, :, :1].expand(-1, -1, 5, -1),
}
every_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)

# Norms over the last axes: their normalized_shape, and the shape of the input
KINDS = {
    "samples": ((6,), (4, 6)),
    "one sample": ((6,), (1, 6)),
    "one vector": ((6,), (6,)),
    "two features": ((2,), (4, 2)),
    "tokens": ((6,), (2, 3, 6)),
    "whole images": ((3, 5, 2), (4, 3, 5, 2)),
    "maps": ((5, 2), (4, 3, 5, 2)),
}
every_kind = pytest.mark.parametrize(("features", "shape"), KINDS.values(), ids=KINDS)

EMPTY = {
    "no samples": (6, (0, 6)),
    "no tokens": (6, (4, 0, 6)),
    "no features": (0, (4, 0)),
    "no images": ((3, 2, 2), (0, 3, 2, 2)),
    "no width": ((3, 2, 0), (4, 3, 2, 0)),
}
every_empty_batch = pytest.mark.parametrize(("features", "shape"), EMPTY.values(), ids=EMPTY)

CHANGES = {  # and the index of what is changed
    "a sample": (6, (4, 6), (1,)),
    "a later token": (6, (2, 5, 6), (0, 4)),
    "an image": ((3, 5, 2), (4, 3, 5, 2), (2,)),
    "a place of an image": (3, (4, 5, 2, 3), (1, 4, 0)),
}
every_change = pytest.mark.parametrize(
    ("features", "shape", "changed"), CHANGES.values(), ids=CHANGES
)

NO_GAIN = {"elementwise_affine": False}
# what is wrong: normalized_shape, options, the input, words of the message (came, expected, cure)
REFUSED = {
    "other features": (6, {}, torch.ones(4, 5), (r"\[\*, 6\]", r"size \[4, 5\]")),
    "other features, no gain": (6, NO_GAIN, torch.ones(4, 5), (r"\[\*, 6\]", r"\[4, 5\]")),
    "one feature": (6, {}, torch.ones(4, 1), (r"\[\*, 6\]", r"size \[4, 1\]")),
    "one feature, no gain": (6, NO_GAIN, torch.ones(4, 1), (r"\[\*, 6\]", r"size \[4, 1\]")),
    "features first": (6, {}, torch.ones(2, 6, 5), (r"\[2, 6, 5\]", r"x\.movedim\(1, -1\)")),
    "axes in another order": ((3, 6), {}, torch.ones(4, 6, 3), (r"\*, 3, 6\]", r"\[4, 6, 3\]")),
    "one axis of two": ((3, 6), {}, torch.ones(4, 1, 6), (r"\[\*, 3, 6\]", r"\[4, 1, 6\]")),
    "no axes": ((), {}, torch.ones(4, 6), ("normalized_shape is empty", "such as 512")),
    "integers": (6, {}, torch.ones(4, 6, dtype=torch.int64), ("int64", r"x\.float\(\)")),
    "integers, no gain": (6, NO_GAIN, torch.ones(4, 6, dtype=torch.int64), ("int64",)),
    "booleans": (6, {}, torch.ones(4, 6, dtype=torch.bool), ("bool", r"x\.float\(\)")),
    "an array": (6, {}, np.ones((4, 6), np.float32), ("ndarray", r"torch\.as_tensor\(x\)")),
    "a list": (6, {}, [1.0] * 6, ("list", r"torch\.as_tensor\(x\)")),
}


def has_compiler():
    return any(
        shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++", "cl")
    )


needs_compiler = pytest.mark.skipif(
    not has_compiler(), reason="torch.compile needs a C++ compiler, and none is on PATH"
)


def twins(name, *sizes, training=True, dtype=F64, **options):
    """Return our layer and torch's with the same random gain, shift and running statistics."""
    ours, theirs = (
        getattr(library, name)(*sizes, dtype=dtype, **options).train(training)
        for library in (norms, nn)
    )
    with torch.no_grad():
        for key, tensor in (*theirs.named_parameters(), *theirs.named_buffers()):
            if key == "running_var":
                tensor.uniform_(0.5, 2.0)
            elif tensor.is_floating_point():
                tensor.normal_()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def seen(layer, x, dy):
    """Go forward and back; return all that a caller can see of it."""
    x = x.detach().clone().requires_grad_()
    layer.zero_grad()
    y = layer(x)
    y.backward(dy)
    gradients = {f"d{name}": p.grad for name, p in layer.named_parameters()}
    return {"y": y, "dx": x.grad, **gradients, **dict(layer.named_buffers())}


def assert_same(ours, theirs, rtol=1e-10, atol=1e-12):
    """Compare two results of ``seen``: names, values (NaN equals NaN), dtypes."""
    assert ours.keys() == theirs.keys()
    for key in ours:
        assert_close(
            ours[key],
            theirs[key],
            rtol=rtol,
            atol=atol,
            equal_nan=True,
            msg=lambda m, key=key: f"{key}: {m}",
        )


# What torch refuses and accepts, and how its layer is built


def both_refuse(ours, theirs, x, words):
    """Give both layers what torch refuses: ours must refuse in kind, and name the cure."""
    with pytest.raises(Exception) as expected:  # noqa: PT011 - torch says which
        theirs(x)
    with pytest.raises(expected.type) as refusal:
        ours(x)
    for word in words:
        assert re.search(word, str(refusal.value)), f"{word!r} is not in: {refusal.value}"
    return refusal.type, expected.type


def dtype_or_refusal(layer, x):
    """Return the dtype of the output, or the type of the refusal."""
    try:
        return layer(x).dtype
    except RuntimeError as refusal:
        return type(refusal)


def assert_same_constructor(name, size, options, attributes):
    """Compare signatures; then, for each of ``options``, what the constructor made."""
    ours, theirs = getattr(norms, name), getattr(nn, name)
    assert arguments(ours) == arguments(theirs)
    given = [list(inspect.signature(layer.forward).parameters) for layer in (ours, theirs)]
    assert given[0] == given[1]
    for chosen in options:
        a, b = ours(size, **chosen), theirs(size, **chosen)
        assert repr(a) == repr(b)
        assert_same(a.state_dict(), b.state_dict(), rtol=0, atol=0)
        for attribute in attributes:
            assert getattr(a, attribute) == getattr(b, attribute)
            assert type(getattr(a, attribute)) is type(getattr(b, attribute))


def arguments(layer):
    return [(p.name, p.kind, p.default) for p in inspect.signature(layer).parameters.values()]


# The NumPy functions


def assert_numpy_functions_keep_the_dtype(forward, backward, x, dy, *parameters):
    y, cache = forward(x, *parameters)
    assert y.dtype == x.dtype
    assert {gradient.dtype for gradient in backward(dy, cache)} == {x.dtype}


def assert_numpy_functions_take_an_empty_batch(forward, backward, shape, *parameters):
    y, cache = forward(np.zeros(shape), *parameters)
    dx, *others = backward(y, cache)
    assert y.shape == dx.shape == shape
    for gradient, parameter in zip(others, parameters, strict=True):
        assert gradient.shape == parameter.shape
        assert not gradient.any()


def assert_numpy_backward_is_computed_in_float32(forward, backward, x, dy, *parameters):
    """Compare float16 with float64: one rounding is half of 2^-10 of a value."""
    _, cache = forward(*(a.astype(float) for a in (x, *parameters)))
    exact = backward(dy.astype(float), cache)
    _, cache = forward(x, *parameters)
    for got, right in zip(backward(dy, cache), exact, strict=True):
        size = np.abs(right).max()
        np.testing.assert_allclose(got, right, rtol=0.51 * 2**-10, atol=1e-5 * size)


def assert_numpy_functions_overwrite_nothing(forward, backward, x, dy, *parameters):
    given = (x, dy, *parameters)
    before = [array.copy() for array in given]
    _, cache = forward(x, *parameters)
    first, again = backward(dy, cache), backward(dy, cache)
    for one, other in zip((*given, *first), (*before, *again), strict=True):
        np.testing.assert_array_equal(one, other)


# Modes, sets that share no statistics, precision, memory


def assert_nothing_is_overwritten(layer, x, dy):
    """Input, upstream gradient and parameters are the caller's, in float32 and above as they are."""
    given = {"x": x, "dy": dy, **{name: p.detach() for name, p in layer.named_parameters()}}
    before = {name: tensor.clone() for name, tensor in given.items()}
    with torch.no_grad():
        layer(x)
    leaf = x.detach().requires_grad_()  # the same memory
    layer(leaf).backward(dy)
    torch.autograd.grad(layer(leaf), leaf, dy, create_graph=True)
    assert_same(given, before, rtol=0, atol=0)


def assert_a_frozen_gain_gets_no_gradient(layer, x):
    layer.weight.requires_grad_(False)
    leaf = x.requires_grad_()
    layer(leaf).square().sum().backward()
    learned = dict(layer.named_parameters())
    assert learned.pop("weight").grad is None
    assert all(tensor.grad is not None for tensor in (leaf, *learned.values()))


def assert_training_is_evaluation(layer, x, dy):
    """To the last bit, with and without gradients; and nothing is remembered."""
    before = copy.deepcopy(layer.state_dict())
    result = seen(layer.train(), x, dy)
    assert_same(seen(layer.eval(), x, dy), result, rtol=0, atol=0)
    with torch.no_grad():
        assert torch.equal(layer.train()(x), result["y"])
        assert torch.equal(layer.eval()(x), result["y"])
    assert not list(layer.buffers())
    assert_same(layer.state_dict(), before, rtol=0, atol=0)


def assert_an_empty_batch_teaches_nothing(ours, theirs, shape):
    x = torch.randn(shape, dtype=F64)
    assert_same(seen(ours, x, x), seen(theirs, x, x))
    for parameter in ours.parameters():
        assert not parameter.grad.any()


def assert_nothing_else_moves(layer, x, dy, changed):
    """Change a part of ``x``: no other output and no other gradient may move, not by a bit."""
    other = x.clone()
    other[changed] = 3 + 2 * torch.randn_like(x[changed])
    rest = torch.ones(x.shape, dtype=torch.bool)
    rest[changed] = False
    before, after = seen(layer, x, dy), seen(layer, other, dy)
    for key in ("y", "dx"):
        assert torch.equal(before[key][rest], after[key][rest]), key
        assert not torch.equal(before[key][changed], after[key][changed]), key


def float64_reference(layer, x, dy):
    return seen(copy.deepcopy(layer).double(), x.double(), dy.double())


def assert_near_float64(layer, x, dy):
    """Compare float32 with float64: 1e-5 of the largest value is some roundings of 6e-8."""
    expected = float64_reference(layer, x, dy)
    for key, value in seen(layer, x, dy).items():
        size = expected[key].abs().max().item()
        assert_close(value.double(), expected[key].double(), rtol=1e-5, atol=1e-5 * size, msg=key)


def assert_digits_are_kept_far_from_zero(layer, x, dy, keys):
    """Compare float32 with float64 where all of ``x`` is near 3,000 or 10,000, up to its sign.

    A mean is right to a few roundings of that size times 2^-24, and y moves with it (torch's as
    much). E[x^2] - E[x]^2 is off by its square times 2^-24: 0.5 and 6, for a variance of 1.
    """
    expected, result = float64_reference(layer, x, dy), seen(layer, x, dy)
    tolerance = x.abs().mean().item() * 2**-20
    for key in keys:
        assert_close(result[key].double(), expected[key], rtol=0, atol=tolerance)
    return expected, tolerance


def assert_off_by_one_rounding(ours, theirs, x, dy):
    """Compare half precision with float64, and its dtypes with torch's."""
    exact = float64_reference(ours, x, dy)
    result, torchs = seen(ours, x, dy), seen(theirs, x, dy)
    assert {k: v.dtype for k, v in result.items()} == {k: v.dtype for k, v in torchs.items()}
    for key, value in result.items():
        # Half a unit in the last place, and a hair for float32 on the way.
        unit = torch.finfo(value.dtype).eps if value.is_floating_point() else 0.0
        unit = max(unit, 1e-5)
        size = exact[key].abs().max().item()
        assert_close(
            value.double(), exact[key].double(), rtol=0.51 * unit, atol=1e-5 * size, msg=key
        )


def assert_layout_does_not_matter(ours, theirs, layout):
    x = layout(torch.randn(4, 3, 5, 5, dtype=F64))
    dy = torch.randn(x.shape, dtype=F64)
    assert not x.is_contiguous() or x.shape[0] == 2
    leaf = x.detach().requires_grad_()  # keeps the strides, unlike a clone
    y = ours(leaf)
    (dx,) = torch.autograd.grad(y, leaf, dy)
    expected = seen(theirs, x.contiguous(), dy)
    assert_close(y, expected["y"])
    assert_close(dx, expected["dx"])


def graph_size(tensor):
    """Count the nodes of the graph behind a tensor."""
    found, stack = set(), [tensor.grad_fn]
    while stack:
        node = stack.pop()
        if node is not None and node not in found:
            found.add(node)
            stack.extend(parent for parent, _ in node.next_functions)
    return len(found)


def kept(layer, x):
    """Count the bytes that are kept from the forward pass for the backward pass."""
    sizes = {}

    def remember(tensor):
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        y = layer(x)
    y.backward(y.detach())  # alive until here, so no address is used twice
    return sum(sizes.values())


# In place of torch's layer


def assert_checkpoints_load_both_ways(ours, theirs, x):
    for source, target in ((theirs, ours), (ours, theirs)):
        with torch.no_grad():
            for parameter in source.parameters():
                parameter.normal_()
            source(x)  # running statistics, where there are any
        target.load_state_dict(source.state_dict(), strict=True)
        assert_same(target.state_dict(), source.state_dict(), rtol=0, atol=0)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert ours.state_dict()._metadata == theirs.state_dict()._metadata


def differentiable(layer, x):
    """Compare first and second derivatives, of input and parameters, with differences."""
    buffers = {name: b.clone() for name, b in layer.named_buffers()}
    names = [name for name, _ in layer.named_parameters()]

    def function(x, *parameters):  # running statistics are given anew, so that calls do not differ
        state = {k: b.clone() for k, b in buffers.items()}
        return functional_call(layer, {**state, **dict(zip(names, parameters, strict=True))}, (x,))

    leaves = (x.requires_grad_(), *layer.parameters())
    return gradcheck(function, leaves) and gradgradcheck(function, leaves)


def assert_per_sample_gradients(ours, theirs, x):
    """Compare ``vmap(grad)`` with a loop over the samples, and with torch's layer."""
    weights = torch.randn(x.shape[1:], dtype=x.dtype)

    def per_sample(layer):
        def loss(parameters, sample):
            y = functional_call(layer, parameters, (sample.unsqueeze(0),))
            return (weights * y).square().sum()

        parameters = {k: p.detach() for k, p in layer.named_parameters()}
        mapped = vmap(grad(loss, argnums=(0, 1)), in_dims=(None, 0))(parameters, x)
        looped = [grad(loss, argnums=(0, 1))(parameters, sample) for sample in x]
        return mapped, looped

    (dp, dx), looped = per_sample(ours)
    for i, (dp_i, dx_i) in enumerate(looped):
        assert_close({k: v[i] for k, v in dp.items()}, dp_i)
        assert_close(dx[i], dx_i)
    assert_close((dp, dx), per_sample(theirs)[0])


def assert_ensembles_by_vmap(pairs, x, dy):
    """Compare layers whose parameters are stacked, mapped by ``vmap``, with torch's one by one.

    Parameters, input and upstream gradient are each the members' own or shared by all; what
    ``x`` and ``dy`` hold along their first axis belongs to the members in turn. Buffers are the
    members' own. Derivatives are taken inside the map, by ``vjp``, and outside of it.
    """
    ours, theirs = zip(*pairs, strict=True)
    stacked, buffers = stack_module_state(list(ours))

    def call(parameters, buffers, x):
        state = {name: buffer.clone() for name, buffer in buffers.items()}  # training changes them
        return functional_call(ours[0], (parameters, state), (x,)), state

    def forward_and_back(parameters, buffers, x, dy):
        y, back, state = vjp(lambda p, x: call(p, buffers, x), parameters, x, has_aux=True)
        dp, dx = back(dy)
        return {"y": y, "dx": dx, **{f"d{name}": g for name, g in dp.items()}, **state}

    def one_by_one(own_parameters, own_x, own_dy):
        for i, layer in enumerate(theirs):
            layer.load_state_dict(ours[i if own_parameters else 0].state_dict())
            layer.load_state_dict({k: b[i] for k, b in buffers.items()}, strict=False)
            result = seen(layer, x[i if own_x else 0], dy[i if own_dy else 0])
            yield {key: value.clone() for key, value in result.items()}

    for own in itertools.product((True, False), repeat=3):
        expected = list(one_by_one(*own))
        p_dim, x_dim, dy_dim = (0 if mine else None for mine in own)
        parameters = {k: (p if own[0] else p[0]).detach() for k, p in stacked.items()}
        inputs, upstream = (a if mine else a[0] for a, mine in zip((x, dy), own[1:], strict=True))
        forward_maps = bool(buffers or own[1] or (own[0] and parameters))
        if forward_maps or own[2]:
            mapped = vmap(forward_and_back, (p_dim, 0, x_dim, dy_dim))
            result = mapped(parameters, buffers, inputs, upstream)
            for i, member in enumerate(expected):
                assert_same({key: value[i] for key, value in result.items()}, member)
        if forward_maps:
            leaves = {"dx": inputs.clone(), **{f"d{k}": p.clone() for k, p in parameters.items()}}
            named = {k: leaves[f"d{k}"].requires_grad_() for k in parameters}
            y, _ = vmap(call, (p_dim, 0, x_dim))(named, buffers, leaves["dx"].requires_grad_())
            gradients = torch.autograd.grad(y, list(leaves.values()), upstream.expand_as(y))
            for (key, leaf), gradient in zip(leaves.items(), gradients, strict=True):
                members = torch.stack([member[key] for member in expected])
                members = members if members.shape == leaf.shape else members.sum(0)  # shared
                assert_close(gradient, members, rtol=1e-10, atol=1e-12, msg=f"{key}, {own}")


def assert_compiled_equals_eager(layer, batches):
    """Train on ``batches``, then evaluate, as one compiled graph and without the compiler."""
    torch._dynamo.reset()
    compiled = torch.compile(copy.deepcopy(layer), fullgraph=True)
    for x, dy in batches:
        expected = seen(layer, x, dy)
        result = {key.replace("_orig_mod.", ""): v for key, v in seen(compiled, x, dy).items()}
        assert_same(result, expected)
    layer.eval()
    compiled.eval()
    assert_close(compiled(x), layer(x))


def assert_copies_are_independent_and_equal(layer, x, dy):
    copies = [copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))]
    state = copy.deepcopy(layer.state_dict())
    results = [seen(copied, x, dy) for copied in copies]
    assert_same(layer.state_dict(), state, rtol=0, atol=0)
    for result in results:
        assert_same(result, seen(copy.deepcopy(layer), x, dy), rtol=0, atol=0)


def assert_conversion_equals_torch(ours, theirs, convert, shape):
    ours, theirs = (getattr(layer, convert)() for layer in (ours, theirs))
    assert_same(ours.state_dict(), theirs.state_dict(), rtol=0, atol=0)
    dtype = next(iter(theirs.state_dict().values())).dtype
    assert ours(torch.randn(shape, dtype=dtype)).dtype == dtype


def train(network, x, labels, lr):
    """Take 20 steps on four batches of 16 in turn; return the losses."""
    optimizer = torch.optim.SGD(network.parameters(), lr=lr, momentum=0.9)
    losses = []
    for step in range(20):
        batch = slice(16 * (step % 4), 16 * (step % 4) + 16)
        loss = F.cross_entropy(network(x[batch]).flatten(0, -2), labels[batch].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def assert_trains_the_same(ours, theirs, x, labels, lr):
    """Train both networks from the same weights; compare the losses, then the outputs."""
    ours.load_state_dict(theirs.state_dict(), strict=True)
    curves = [train(network, x, labels, lr) for network in (ours, theirs)]
    assert curves[0][-1] < curves[0][0] / 2  # it learns, so the comparison means something
    np.testing.assert_allclose(*curves, rtol=1e-8)
    assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-7, atol=1e-8)


def convolutional_network(library):
    """Make a small network with the batch norms of ``norms`` or of ``torch.nn``."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        library.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2),
        library.BatchNorm2d(8, momentum=None),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(72, 16),
        library.BatchNorm1d(16, affine=False),
        nn.Linear(16, 5),
    ).double()


class Block(nn.Module):
    """Attention and a small network, each behind a norm and beside a sum."""

    def __init__(self, norm, width):
        super().__init__()
        self.norm1, self.norm2 = norm(width), norm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.hidden, self.out = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        y = self.norm1(x)
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        x = x + self.attention(y, y, y, attn_mask=later, need_weights=False)[0]
        return x + self.out(F.gelu(self.hidden(self.norm2(x))))


class Transformer(nn.Module):
    """A causal language model of two blocks, whose norms are made by ``norm(width)``."""

    def __init__(self, norm, vocabulary=7, width=8):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.blocks = nn.Sequential(Block(norm, width), Block(norm, width))
        self.norm = norm(width)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens):
        return self.head(self.norm(self.blocks(self.embedding(tokens))))


def next_tokens():
    """Draw 64 sequences of 6 tokens, and what follows each: a fixed function of it."""
    tokens = torch.randint(7, (64, 6))
    return tokens, (3 * tokens + 1) % 7


def with_ours(model, name):
    """Copy a model of torch's and replace each of its layers of this name by ours."""
    model = copy.deepcopy(model)
    layers = [m for m in model.named_modules() if isinstance(m[1], getattr(nn, name))]
    assert layers
    given = set(inspect.signature(getattr(norms, name)).parameters) - {"device", "dtype"}
    dtype = next(model.parameters()).dtype
    for path, theirs in layers:
        options = {key: getattr(theirs, key) for key in given - {"bias"}}
        if "bias" in given:
            options["bias"] = theirs.bias is not None
        ours = getattr(norms, name)(**options, dtype=dtype)
        ours.load_state_dict(theirs.state_dict(), strict=True)
        parent, _, leaf = path.rpartition(".")
        setattr(model.get_submodule(parent), leaf, ours.train(theirs.training))
    return model


# Norms on a weight: a layer, the name of the weight, and the shapes of the layer's inputs

LAYERS = {
    "linear": (lambda: nn.Linear(3, 4), "weight", [(5, 3)]),
    "one output": (lambda: nn.Linear(3, 1), "weight", [(5, 3)]),
    "one input": (lambda: nn.Linear(1, 4), "weight", [(5, 1)]),
    "1d": (lambda: nn.Conv1d(4, 6, 3), "weight", [(2, 4, 5)]),
    "2d": (lambda: nn.Conv2d(4, 6, (3, 2)), "weight", [(2, 4, 5, 5)]),
    "3d": (lambda: nn.Conv3d(2, 3, 2), "weight", [(2, 2, 3, 3, 3)]),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2), "weight", [(2, 4, 5, 5)]),
    "depthwise": (lambda: nn.Conv1d(4, 4, 3, groups=4), "weight", [(2, 4, 5)]),
    "transposed 1d": (lambda: nn.ConvTranspose1d(4, 6, 3), "weight", [(2, 4, 5)]),
    "transposed 2d": (lambda: nn.ConvTranspose2d(4, 6, 3, groups=2), "weight", [(2, 4, 5, 5)]),
    "transposed 3d": (lambda: nn.ConvTranspose3d(2, 3, 2), "weight", [(2, 2, 3, 3, 3)]),
    "embedding": (lambda: nn.Embedding(5, 3), "weight", [None]),
    "bilinear": (lambda: nn.Bilinear(2, 3, 4), "weight", [(5, 2), (5, 3)]),
    "attention": (lambda: nn.MultiheadAttention(4, 2), "in_proj_weight", [(3, 2, 4)] * 3),
    "recurrent": (lambda: nn.LSTMCell(3, 4), "weight_hh", [(5, 3)]),
    "vector": (lambda: nn.Linear(3, 4), "bias", [(5, 3)]),
}
every_layer = pytest.mark.parametrize(("make", "name", "shapes"), LAYERS.values(), ids=LAYERS)


def normed_twins(
    norm, make=LAYERS["linear"][0], name="weight", training=True, dtype=F64, **options
):
    """Return a layer with our norm on its weight, and one with torch's: the same random state."""
    for library in (norms, parametrizations):
        torch.manual_seed(1)
        layer = make().to(dtype).train(training)
        yield getattr(library, norm)(layer, name, **options)


def inputs_of(shapes):
    """Draw the inputs of a layer; None stands for the indices of an embedding of five rows."""
    return [torch.tensor([0, 4, 4, 2]) if s is None else torch.randn(s, dtype=F64) for s in shapes]


def seen_of_weight(layer, name, dw):
    """Read the weight and go back from it; return all that a caller can see, buffers too."""
    layer.zero_grad()
    w = getattr(layer, name)
    w.backward(dw)
    gradients = {f"d{key}": p.grad for key, p in layer.named_parameters() if p.grad is not None}
    return {"w": w.detach(), **gradients, **{key: b.clone() for key, b in layer.named_buffers()}}


def seen_of_layer(layer, inputs):
    """Go through the layer and back, with an upstream gradient that depends on the answer."""
    layer.zero_grad()
    y = layer(*inputs)
    y = y[0] if isinstance(y, tuple) else y
    y.backward(torch.cos(7 * y.detach()))
    gradients = {f"d{key}": p.grad for key, p in layer.named_parameters() if p.grad is not None}
    return {"y": y.detach(), **gradients, **{key: b.clone() for key, b in layer.named_buffers()}}


def shake(*layers):
    """Give the parameters of all layers the same random values, which are no longer the first."""
    with torch.no_grad():
        for parameters in zip(*(layer.parameters() for layer in layers), strict=True):
            change = torch.randn_like(parameters[0])
            for parameter in parameters:
                parameter.add_(change.to(parameter.dtype))


def assert_same_norm_of_a_weight(ours, theirs, name, inputs):
    """Compare all that is seen, three times, with other parameters each time."""
    for _ in range(3):
        dw = torch.randn_like(getattr(theirs, name).detach())
        getattr(ours, name)  # as many readings for both
        assert_same(seen_of_weight(ours, name, dw), seen_of_weight(theirs, name, dw))
        assert_same(seen_of_layer(ours, inputs), seen_of_layer(theirs, inputs))
        shake(ours, theirs)


def assert_normed_checkpoints_load_both_ways(ours, theirs, name):
    """Names in their order, values and versions; then the weights are the same."""
    for source, target in ((theirs, ours), (ours, theirs)):
        shake(source)
        target.load_state_dict(source.state_dict(), strict=True)
        assert list(target.state_dict()) == list(source.state_dict())
        assert target.state_dict()._metadata == source.state_dict()._metadata
        assert_same(target.state_dict(), source.state_dict(), rtol=0, atol=0)
        assert_close(getattr(target.eval(), name), getattr(source.eval(), name))


def assert_removed_as_by_torch(ours, theirs, name):
    """The weight is a parameter again, with the values that were read; the class is torch's."""
    made = type(ours).__mro__[1]
    for layer in (ours, theirs):
        parametrize.remove_parametrizations(layer, name)
    assert type(ours) is type(theirs) is made
    assert isinstance(getattr(ours, name), nn.Parameter)
    assert_same(ours.state_dict(), theirs.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    pickled = pickle.loads(pickle.dumps(ours))
    assert_same(pickled.state_dict(), ours.state_dict(), rtol=0, atol=0)
