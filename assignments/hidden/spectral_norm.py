"""The hidden checks of "Spectral norm of the true convolution". Never handed out, never in the sandbox."""

import checks
import numpy as np
from checking import Check, Layer, guarded, rng, watched

# Sizes: (outputs, inputs, kh, kw, H, W, stride, padding). `vary` draws others.
SIZES = [(3, 2, 3, 3, 5, 6, 1, 1), (2, 3, 2, 3, 7, 6, 2, 0), (4, 1, 3, 2, 6, 5, 1, 2)]
STRIDES = [(3, 2, 2, 2, 6, 7, 3, 0), (2, 3, 3, 2, 6, 8, 2, 1), (2, 2, 1, 2, 5, 7, 2, 0)]
LAYERS = [(2, 3, 3, 5, 6, 1, 1), (3, 2, 2, 7, 5, 3, 0), (1, 4, 3, 6, 6, 2, 1)]
LIMITS = [1.0, 0.5, 40.0]
ROUNDS = 1  # of a pass in training


class Convolution:
    """A convolution as a matrix, entry by entry. `w` is its kernel (O, I, kh, kw), `size` an image's (H, W)."""

    def __init__(self, w, size, stride=1, padding=0):
        outputs, inputs, kh, kw = w.shape
        self.seen, self.w = (inputs, *size), w
        out = [(n + 2 * padding - k) // stride + 1 for n, k in zip(size, (kh, kw), strict=True)]
        self.maps = (outputs, *out)
        entries = []  # (number of the map's place, of the image's place, of the kernel's weight)
        for o, p, q, i, a, b in np.ndindex(*self.maps, inputs, kh, kw):
            y, x = stride * p + a - padding, stride * q + b - padding
            if 0 <= y < size[0] and 0 <= x < size[1]:
                to = np.ravel_multi_index((o, p, q), self.maps)
                place = np.ravel_multi_index((i, y, x), self.seen)
                entries.append((to, place, np.ravel_multi_index((o, i, a, b), w.shape)))
        self.to, self.place, self.weight = np.array(entries).T
        self.matrix = np.zeros((np.prod(self.maps), np.prod(self.seen)))
        np.add.at(self.matrix, (self.to, self.place), w.ravel()[self.weight])

    def forward(self, x):
        return (x.reshape(-1, self.matrix.shape[1]) @ self.matrix.T).reshape(-1, *self.maps)

    def transpose(self, y):
        return (y.reshape(-1, self.matrix.shape[0]) @ self.matrix).reshape(-1, *self.seen)

    def by_kernel(self, y, x):
        """The gradient of <y, forward(x)> with respect to the kernel; y and x are batches."""
        flat = np.einsum(
            "ne,ne->e", y.reshape(len(y), -1)[:, self.to], x.reshape(len(x), -1)[:, self.place]
        )
        return np.bincount(self.weight, flat, self.w.size).reshape(self.w.shape)

    def norm(self):
        return np.linalg.norm(self.matrix, 2)


def scale(sigma, limit):
    """What the kernel is multiplied by, and its derivative by sigma."""
    return limit / sigma, -limit / sigma**2


def reference(conv, v, rounds, limit=1.0):
    """w_bar, the new v, sigma."""
    v = v / np.linalg.norm(v)
    for _ in range(rounds):
        v = conv.transpose(conv.forward(v))[0]
        v = v / np.linalg.norm(v)
    sigma = np.linalg.norm(conv.forward(v))
    return scale(sigma, limit)[0] * conv.w, v, sigma


def gradient(conv, v, dw_bar, limit=1.0):
    """dw where the last v stays."""
    y = conv.forward(v)
    sigma = np.linalg.norm(y)
    factor, slope = scale(sigma, limit)
    return factor * dw_bar + slope * (dw_bar * conv.w).sum() * conv.by_kernel(y / sigma, v[None])


def kernels(sizes):
    """Random kernels and images: (w, v, (H, W), stride, padding, limit)."""
    random = rng()
    for (outputs, inputs, kh, kw, high, wide, stride, padding), limit in zip(
        sizes, LIMITS, strict=True
    ):
        w = random.normal(size=(outputs, inputs, kh, kw))
        v = random.normal(size=(inputs, high, wide))
        yield w, v, (high, wide), stride, padding, limit


def _transpose(send_back, sizes):
    check, back = Check(checks.CONV, secret=True), guarded(send_back, "torch")
    check.free_of(send_back, "torch")
    random = rng()
    for w, _, size, stride, padding, _ in kernels(sizes):
        conv = Convolution(w, size, stride, padding)
        y = random.normal(size=conv.maps)
        x, after = check.parts(watched(back, y, w, size, stride, padding), "result", "arguments")
        told = f"maps {conv.maps} sent back, stride {stride}, padding {padding}"
        check.close(x, conv.transpose(y)[0], told)
        check.close(after[0], y, "y after the call (it must not be changed)")


def transpose_values(send_back):
    _transpose(send_back, [(*s[:6], 1, s[7]) for s in SIZES])


def transpose_stride(send_back):
    _transpose(send_back, STRIDES)


def forward_values(spectral_forward):
    check = Check(checks.NUMPY, secret=True)
    forward = guarded(spectral_forward, "torch", *checks.WHOLE)
    check.free_of(spectral_forward, "torch", *checks.WHOLE)
    for w, v, size, stride, padding, limit in kernels(SIZES):
        conv = Convolution(w, size, stride, padding)
        for rounds in (1, 2, 30):
            found = forward(w, v, rounds, stride, padding, limit)
            w_bar, new, _ = check.parts(found, "w_bar", "v", "cache")
            wanted, right, _ = reference(conv, v, rounds, limit)
            told = f"stride {stride}, padding {padding}, {rounds} rounds"
            check.close(w_bar, wanted, f"w_bar ({told})")
            check.close(new, right, f"v ({told})")


def forward_rounds(spectral_forward):
    check = Check(checks.NUMPY, secret=True)
    for w, v, size, stride, padding, limit in kernels(SIZES):
        conv, how = Convolution(w, size, stride, padding), (stride, padding, limit)
        result, after = check.parts(watched(spectral_forward, w, v, 0, *how), "result", "arguments")
        w_bar, same, _ = check.parts(result, "w_bar", "v", "cache")
        wanted, right, _ = reference(conv, v, 0, limit)
        check.close(w_bar, wanted, "w_bar without a round")
        check.close(same, right, "v without a round")
        for now, was, name in zip(after, (w, v), ("w", "v"), strict=False):
            check.close(now, was, f"{name} after the call (it must not be changed)")
        found = spectral_forward(w, 1e3 * v, 1, *how)
        w_bar, once, _ = check.parts(found, "w_bar", "v", "cache")
        check.close(w_bar, reference(conv, v, 1, limit)[0], "w_bar from a start that is longer")
        _, twice, _ = check.parts(spectral_forward(w, once, 1, *how), "w_bar", "v", "cache")
        check.close(twice, reference(conv, v, 2)[1], "v after two calls of one round each")
        tiny = Convolution(1e-30 * w, size, stride, padding)
        small, new, _ = check.parts(spectral_forward(tiny.w, v, 2, *how), "w_bar", "v", "cache")
        check.close(new, reference(tiny, v, 2)[1], "v of a tiny kernel")
        wanted = reference(tiny, v, 2, limit)[0]
        size = np.abs(wanted).max()
        check.close(
            check.array(small, w.shape, "w_bar") / size, wanted / size, "w_bar of a tiny kernel"
        )


def forward_refuses(spectral_forward):
    check, refused = Check(checks.NUMPY, secret=True), (ValueError, spectral_forward)
    w, v, size, _, _, _ = next(kernels(STRIDES))
    for rounds in (0, 2):
        check.raises(*refused, 0 * w, v, rounds, 3, what=f"a kernel of zeros, with {rounds} rounds")
        check.raises(*refused, w, 0 * v, rounds, 3, what=f"a start of zeros, with {rounds} rounds")
        unseen = v - v * (Convolution(1 + 0 * w, size, 3).matrix.any(0).reshape(v.shape))
        told = f"a start that no place of the kernel sees, with {rounds} rounds"
        check.raises(*refused, w, unseen, rounds, 3, what=told)
    found = check.parts(spectral_forward(w, v, 1, 3), "w_bar", "v", "cache")
    check.array(found[0], w.shape, "w_bar of a kernel that is not zero")


def backward_dw(spectral_forward, spectral_backward):
    check, random = Check(checks.BACK, secret=True), rng()
    both = spectral_forward, spectral_backward
    forward, backward = check.derived(*both, "torch", *checks.WHOLE)
    for w, v, size, stride, padding, limit in kernels(SIZES):
        conv = Convolution(w, size, stride, padding)
        for rounds in (0, 1, 20):
            found = forward(w, v, rounds, stride, padding, limit)
            cache = check.parts(found, "w_bar", "v", "cache")[2]
            dw_bar = random.normal(size=w.shape) + w  # not at a right angle to w
            wanted = gradient(conv, reference(conv, v, rounds)[1], dw_bar, limit)
            told = f"dw after {rounds} rounds (random dw_bar), stride {stride}, padding {padding}"
            dw, most = check.array(backward(dw_bar, cache), w.shape, told), np.abs(wanted).max()
            check.close(dw / most, wanted / most, told)


def layers(SpectralConv2d):
    """Layers with random weights, and what they are as matrices: (layer, convolution, v, bias, limit)."""
    random = rng()
    for (inputs, outputs, kernel, *size, stride, padding), limit in zip(
        LAYERS, LIMITS, strict=True
    ):
        size, w = tuple(size), random.normal(size=(outputs, inputs, kernel, kernel))
        how = {"stride": stride, "padding": padding, "limit": limit}
        layer = Layer(SpectralConv2d, inputs, outputs, kernel, size, forbid=checks.TORCHS, **how)
        v, bias = random.normal(size=(inputs, *size)), random.normal(size=outputs)
        v /= np.linalg.norm(v)
        layer.load(weight=w, bias=bias, v=v)
        yield layer, Convolution(w, size, stride, padding), v, bias, limit


def output(conv, v, x, bias, limit):
    factor, _ = scale(np.linalg.norm(conv.forward(v)), limit)
    return factor * conv.forward(x) + bias[:, None, None]


def layer_train(SpectralConv2d):
    check, random = Check(checks.LAYER, secret=True), rng(1)
    check.free_of(SpectralConv2d, *checks.TORCHS)
    for layer, conv, v, bias, limit in layers(SpectralConv2d):
        for step in ("first", "second"):
            x = random.normal(size=(4, *conv.seen))
            dy = random.normal(size=(4, *conv.maps))
            found, v = layer.gradient(dy, x), reference(conv, v, ROUNDS)[1]
            check.close(
                found["y"], output(conv, v, x, bias, limit), f"the output of the {step} pass"
            )
            check.close(layer.get("v"), v, f"v after the {step} pass")
            factor, _ = scale(np.linalg.norm(conv.forward(v)), limit)
            check.close(found["dx"][0], factor * conv.transpose(dy), "the gradient of x")
            wanted = gradient(conv, v, conv.by_kernel(dy, x), limit)
            check.close(found["weight"], wanted, "the gradient of weight", tolerance=1e-5)
            check.close(found["bias"], dy.sum((0, 2, 3)), "the gradient of bias")
        check.close(layer.get("weight"), conv.w, "weight after two passes (it must stay)")


def layer_eval(SpectralConv2d):
    check, random = Check(checks.MODE, secret=True), rng(2)
    for layer, conv, v, bias, limit in layers(SpectralConv2d):
        layer.eval()
        x = random.normal(size=(3, *conv.seen))
        wanted = output(conv, v, x, bias, limit)
        y = layer.gradient(wanted, x)[
            "y"
        ]  # evaluation is a mode of the layer, not the absence of gradients
        check.close(y, wanted, "the output in evaluation, with gradients on")
        check.close(
            layer.forward(x[:1]), wanted[:1], "the output of one image in evaluation, again"
        )
        check.close(layer.get("v"), v, "v after evaluation")
    outputs, inputs, kernel, *size, stride, padding = 3, 2, 3, 5, 6, 1, 1
    layer = Layer(SpectralConv2d, inputs, outputs, kernel, tuple(size), stride, padding, limit=0.5)
    state = layer.state()
    w = check.array(state["weight"], (outputs, inputs, kernel, kernel), "weight of a new layer")
    v = check.array(state["v"], (inputs, *size), "v of a new layer")
    check.close(np.linalg.norm(v), 1.0, "the length of v of a new layer", tolerance=1e-4)
    conv = Convolution(w, size, stride, padding)
    right = np.linalg.norm(conv.forward(v)) > 0.95 * conv.norm()
    check.true(right, "a new layer's estimate of the norm", "95 % at least", "less")


def layer_twice(SpectralConv2d):
    check, random = Check(checks.MODE, secret=True), rng(3)
    every = zip(layers(SpectralConv2d), LAYERS, strict=True)
    for (_, conv, v, bias, limit), (inputs, outputs, kernel, *size, stride, padding) in every:
        xs, dys = (random.normal(size=(2, 3, *shape)) for shape in (conv.seen, conv.maps))
        arguments = (inputs, outputs, kernel, tuple(size), stride, padding, limit)
        values = {"weight": conv.w, "bias": bias, "v": v}
        found = checks.two_passes(SpectralConv2d, arguments, values, tuple(xs), tuple(dys))
        came = "an error: a tensor was changed in place" if type(found) is str else "no result"
        check.true(type(found) is list, "two passes, then one backward", "gradients", came)
        first, second, dw, newest = check.parts(found, "y", "y", "gradient of weight", "v")
        wanted = 0
        for y, x, dy in zip((first, second), xs, dys, strict=True):
            v = reference(conv, v, ROUNDS)[1]
            check.close(y, output(conv, v, x, bias, limit), "the output of one of two passes")
            wanted = wanted + gradient(conv, v, conv.by_kernel(dy, x), limit)
        check.close(dw, wanted, "the gradient of weight after two passes", tolerance=1e-5)
        check.close(newest, v, "v of the state_dict after two passes")


def layer_refuses(SpectralConv2d):
    check, random = Check(checks.CONV, secret=True), rng(4)
    for layer, conv, v, _, _ in layers(SpectralConv2d):
        inputs, high, wide = conv.seen
        for shape in ((inputs, high + 1, wide), (inputs, high, 2 * wide), (inputs + 1, high, wide)):
            x = random.normal(size=(2, *shape))
            told = f"an image {shape} in a layer for {conv.seen}"
            check.raises(ValueError, layer.forward, x, what=told)
        x = random.normal(size=(2, *conv.seen))
        layer.load(weight=0 * conv.w)
        check.raises(ValueError, layer.forward, x, what="a kernel of zeros")
        check.close(layer.get("v"), v, "v after what was refused")
        layer.load(weight=conv.w)
        check.array(layer.forward(x), (2, *conv.maps), "the output for an image of the right size")
