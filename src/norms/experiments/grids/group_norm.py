"""Group norm: what its experiments train, and what is claimed, with the bounds."""

from dataclasses import replace
from functools import partial

import torch

from norms.experiments.claims import Claim, above, below, between, exactly, null
from norms.experiments.data import fashion
from norms.experiments.models import CNN, NORMS
from norms.experiments.models.variants.group_norm import (
    Reestimated,
    StandardizedWeight,
    batch_renorm,
    frozen_norms,
    scattered_group_norm,
    to_group_norm,
)
from norms.experiments.training import seeded, train

__all__ = ["CLAIMS", "FINDINGS", "GRIDS", "RATES", "augmented", "in_parts", "of_classes"]

LARGE = partial(CNN, channels=(16, 16), strides=(2, 2))  # last maps 4x4
SMALL = partial(CNN, channels=(8, 16, 16, 32), strides=(2, 2, 2, 2))  # last maps 1x1


def few_images():
    """GN+2, GN+3: statistics over 32 to 1 images of an update of 32, for two networks.

    With last maps of 1x1 a statistic over one image has one value, and batch norm refuses it.
    """
    data, grid = fashion(), {}
    for name, net in {"4x4": LARGE, "1x1": SMALL}.items():
        builds = {"none": partial(seeded, net, norm="none")}
        builds["group"] = partial(seeded, net, norm="group", num_groups=4)
        for n in (32, 16, 8, 4, 2, *[1] * (name == "4x4")):
            part = {"micro_batch": n}
            builds[f"batch, N={n}"] = partial(seeded, net, norm="batch", **part)
            if n < 32:
                builds[f"renorm, N={n}"] = partial(seeded, net, norm=batch_renorm, **part)
            if n in (4, 2):
                builds[f"re-estimated, N={n}"] = partial(
                    seeded, partial(Reestimated, net, data), norm="batch", **part
                )
        shared = {"data": data, "steps": 300, "batch_size": 32}
        grid |= {f"{name}, {arm}": {"build": build, **shared} for arm, build in builds.items()}
    return grid


def tiny_updates():
    """GN+2: updates of 2 images, statistics and all, on as many images as in "few-images"."""
    shared = {"data": fashion(), "steps": 4800, "batch_size": 2}
    norms = {name: name for name in ("none", "group", "batch")}
    norms["group, standardized"] = {**NORMS["group"], "weight": StandardizedWeight}
    return {
        name: {"build": partial(seeded, LARGE, norm=norm), **shared} for name, norm in norms.items()
    }


def group_count():
    """GN-1: one to 32 groups of 32 channels, no norm and batch norm, with two heads."""
    shared, grid = {"data": fashion(), "steps": 300, "batch_size": 32}, {}
    for head in ("flatten", "pool"):
        net = partial(CNN, channels=(32, 32, 32), strides=(3, 2, 1), head=head)
        arms = {name: {"norm": name} for name in ("none", "batch")}
        arms |= {f"G={g}": {"norm": "group", "num_groups": g} for g in (1, 2, 4, 8, 16, 32)}
        for name, arm in arms.items():
            grid[f"{head}, {name}"] = {"build": partial(seeded, net, **arm), **shared}
    return grid


def memory():
    """GN-2: 1,000 images, learned by heart, with group norm, batch norm and without a norm."""
    return _by_heart(fashion(1000))


def memory_of_more():
    """GN-2: the arms of "memory" on the same images, each also shifted and mirrored."""
    data = fashion(1000)
    return _by_heart(replace(data, train=augmented(*data.train)))


def _by_heart(data):
    shared = {"data": data, "steps": 600, "batch_size": 32}
    return {
        norm: {"build": partial(seeded, LARGE, norm=norm), **shared}
        for norm in ("none", "group", "batch")
    }


def augmented(images, labels):
    """Return images as they are, mirrored, and moved by one pixel to each side, with their labels.

    Args:
        images: (N, 1, H, W).
        labels: (N,).

    Returns:
        Images (6 N, 1, H, W) and labels (6 N,). What a shift leaves free repeats the border.
    """
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1), mode="replicate")
    height, width = images.shape[2:]
    moves = ((0, 1), (2, 1), (1, 0), (1, 2))
    moved = [padded[:, :, i : i + height, j : j + width] for i, j in moves]
    return torch.cat([images, images.flip(3), *moved]), labels.repeat(6)


def scattered_groups():
    """GN-3: groups of neighbouring channels, or of channels drawn at random before training."""
    shared = {"data": fashion(), "steps": 300, "batch_size": 32}
    norms = {"neighbours": "group", "scattered": scattered_group_norm}
    return {
        name: {"build": partial(seeded, LARGE, norm=norm), **shared} for name, norm in norms.items()
    }


def converted():
    """A net trained with batch norm goes on with it, or with group norm; or one starts from scratch."""
    shared = {"data": fashion(), "steps": 100, "batch_size": 32}
    before = partial(_trained, LARGE, fashion(), "batch")
    builds = {
        "batch, going on": before,
        "converted": partial(_changed, before, to_group_norm),
        "group, anew": partial(seeded, LARGE, norm="group"),
    }
    return {name: {"build": build, **shared} for name, build in builds.items()}


def fine_tuning():
    """Five kinds of clothing are learned, then five others from 500 images, 2 images a statistic."""
    data = fashion()
    first, others = (of_classes(data, kinds) for kinds in (range(5), range(5, 10)))
    others = replace(others, train=tuple(part[:500] for part in others.train))
    nets = {norm: partial(_trained, SMALL, first, norm) for norm in ("none", "group")}
    whole = partial(_trained, SMALL, first, "batch", micro_batch=32)
    builds = {
        **nets,
        "batch, N=16": partial(_changed, whole, partial(in_parts, images=16)),
        "batch, N=2": partial(_changed, whole, partial(in_parts, images=2)),
        "batch, frozen": partial(_changed, whole, frozen_norms),
    }
    shared = {"data": others, "steps": 100, "batch_size": 16}
    return {name: {"build": build, **shared} for name, build in builds.items()}


def of_classes(data, kinds):
    """Return a data set with the images of some classes alone.

    Args:
        data: a :class:`norms.experiments.data.Dataset`.
        kinds: the labels; they keep their numbers.
    """
    parts = {}
    for name in ("train", "validation", "test"):
        images, labels = getattr(data, name)
        chosen = torch.isin(labels, torch.tensor(list(kinds)))
        parts[name] = images[chosen], labels[chosen]
    return replace(data, **parts)


def in_parts(model, images):
    """Let the batch norms of a CNN take their statistics over so many images; return the model."""
    for norm in model.norms:
        norm.micro_batch = images
    return model


def _trained(net, data, norm, seeds, **options):
    """A net after 300 updates of 32 images at the rate 0.3, the best of "few-images" with each norm."""
    build, how = partial(seeded, net, norm=norm, **options), {"steps": 300, "batch_size": 32}
    return train(build, data, learning_rates=[0.3], seeds=seeds, parts=[], **how).model


def _changed(build, change, seeds):
    return change(build(seeds))


GRIDS = {
    "few-images": few_images,
    "group-count": group_count,
    "tiny-updates": tiny_updates,
    "memory": memory,
    "memory-of-more": memory_of_more,
    "scattered-groups": scattered_groups,
    "converted": converted,
    "fine-tuning": fine_tuning,
}

RATES = {"tiny-updates": range(-5, -1)}  # 0.003 to 0.1: an update of 2 images is noisier

CLAIMS = {
    "GN+1": Claim(
        "Group norm does not depend on the size of the batch",
        arms=("group", "batch"),
        effect="mixed",
        unit="is the largest derivative of an output by another image",
        quantities={
            "mixed": "largest block of the Jacobian between two images",
            "mates": "largest change of an output when the rest of its batch is exchanged",
            "alone": "largest change of an output when its image is alone",
            "batch": "smallest block between two images with batch norm",
        },
        bounds={
            "proved": {
                "mixed": exactly(0),
                "mates": exactly(0),
                "alone": below(1e-12),
                "batch": above(1e-3),
            },
            "contradicted": {"mixed": above(1e-3)},
        },
        paper_for="Wu and He 2018, equation 7",
    ),
    "GN+2": Claim(
        "Group norm is stable for tiny and varying batches",
        arms=("4x4, group", "group", "none"),
        seeds=10,
        effect="tiny",
        unit="points of error more with updates of 2 images than of 32",
        quantities={
            "same": "relative difference of an update's gradient when it is taken in parts",
            "tiny": "error with updates of 2 images, less that with 32, group norm, last maps of "
            "4×4, as many images seen (points)",
            "tiny_none": "error without a norm less that with group norm, updates of 2 (points)",
        },
        # The bound on "tiny" was ±1.5. On the seeds from 1000 on the interval passed it on the good
        # side. That updates of 2 images should not be better was never the claim, so now the bound is
        # on harm alone, and stricter there.
        bounds={
            "holds": {"same": below(1e-12), "tiny": below(0.75)},
            "contradicted": {"tiny": above(2)},
        },
        condition={
            "holds": "The parts of a batch do not matter, exactly, so its statistics may vary at "
            "will. With updates of 2 images and last maps of 4×4, at a rate that suits them, the error "
            "less that with updates of 32 is {tiny:.1f} points. The error without a norm, less group "
            "norm's, is {tiny_none:.1f} points.",
        },
        paper_for="Wu and He 2018, Table 2",
    ),
    "GN+3": Claim(
        "Group norm is better than batch norm in very small batches",
        arms=(
            "1x1, group",
            "1x1, batch, N=2",
            "1x1, renorm, N=2",
            "1x1, re-estimated, N=2",
            "4x4, group",
            "4x4, batch, N=1",
            "4x4, renorm, N=1",
        ),
        seeds=10,
        effect="few",
        unit="points of error more with batch norm of 2 images, last maps of 1×1",
        quantities={
            "few": "error of batch norm at N=2 over that of group norm, last maps 1×1 (points)",
            "four": "error of batch norm at N=4 over that of group norm, last maps 1×1 (points)",
            "alone": "error of batch norm at N=1 over that of group norm, last maps 4×4 (points)",
            "two_large": "error of batch norm at N=2 over that of group norm, last maps 4×4 (points)",
            "price": "error of group norm over that of batch norm at N=32, last maps 1×1 (points)",
            "price_large": "error of group norm over that of batch norm at N=32, last maps 4×4 "
            "(points)",
            "crossing": "images at which batch and group norm are equal, last maps 1×1",
            "renorm": "error of batch renorm at N=2 over that of group norm, last maps 1×1 (points)",
            "renewed": "error of re-estimated batch norm at N=2 over that of group norm, last maps "
            "1×1 (points)",
            "renorm_alone": "error of batch renorm at N=1 over that of group norm, last maps 4×4 "
            "(points)",
        },
        bounds={
            "holds": {
                "few": above(10),
                "alone": above(1),
                "two_large": above(1),
                "price": below(0.5),
            },
            "holds if": {
                "few": above(15),
                "alone": above(1),
                "two_large": null(1.5),
                "price": above(1),
                "price_large": null(2),
                "crossing": between(2.5, 11),
                "renorm": above(8),
                "renewed": above(15),
                "renorm_alone": null(1.5),
            },
            "contradicted": {"few": below(0), "alone": below(0)},
        },
        condition={
            "holds if": "a statistic has too few values or a single image: 2 images with last maps of 1×1, or one "
            "image with 4×4. With 2 images and 4×4 the two are within 1.5 points. With 32 "
            "images batch norm is ahead by {price.mean:.1f} points with 1×1 and {price_large.mean:.1f} "
            "with 4×4. Batch renorm is level with group norm for one image and 4×4, and not for "
            "2 images and 1×1. Shallow nets, 300 updates.",
        },
        paper_for="Wu and He 2018, Table 2",
        paper_against="Ioffe 2017: batch renorm narrows the gap",
    ),
    "GN-1": Claim(
        "The number of groups is one more thing to tune",
        arms=tuple(f"{head}, G={g}" for head in ("flatten", "pool") for g in (1, 2, 4, 8, 16, 32)),
        seeds=10,
        effect="worth",
        unit="points of error less with the number chosen on other images than with 8",
        quantities={
            "worth": "error with 8 groups, less that with the number chosen on the validation "
            "images; the head gets every place (points)",
            "worth_pool": "error with 8 groups, less that with the chosen number; the head gets the "
            "mean of each map (points)",
            "first": "error with one group, less the mean of 2 to 16 groups; every place (points)",
            "first_pool": "error with one group, less the mean of 2 to 16 groups; the mean of each "
            "map (points)",
            "last": "error with 32 groups, one channel each, less the mean of 2 to 16 groups; every "
            "place (points)",
            "last_pool": "error with 32 groups, less the mean of 2 to 16 groups; the mean of each "
            "map (points)",
        },
        bounds={
            "holds": {"worth": above(1), "worth_pool": above(1)},
            "contradicted": {"worth": null(0.5), "worth_pool": null(0.5)},
            "half-true": {"worth": below(2), "last": below(0), "last_pool": below(1)},
        },
        condition={
            "half-true": "The number chosen on other images has {worth:.1f} points fewer errors than 8 "
            "groups where every place goes to the head (below 0: more), and {worth_pool:.1f} where "
            "the mean of each map does. "
            "The end of one channel a group, bad in the paper, is not bad here: 32 channels, "
            "300 updates, maps of 5×5 and 3×3.",
        },
        paper_for="Wu and He 2018, Table 3: 24.1 to 25.3 % from 64 groups to one",
    ),
    "GN-2": Claim(
        "Group norm regularizes less than batch norm",
        arms=("group", "batch", "none"),
        seeds=10,
        effect="fit",
        unit="nats more on the training images than with batch norm, at equal rates",
        quantities={
            "fit": "loss on the training images, group norm less batch norm, the mean of the rates "
            "0.1 and 0.3 (nats)",
            "test": "test error, group norm less batch norm, the mean of both rates (points)",
            "fit_more": "the same loss with augmented images, at the rate 0.3 (nats)",
            "test_more": "the same error with augmented images, at the rate 0.3 (points)",
            "fit_own": "loss on the training images, group norm less batch norm, each at its own "
            "best rate (nats)",
            "test_own": "test error, group norm less batch norm, each at its own best rate (points)",
        },
        bounds={
            "holds": {"fit": below(-0.01), "test": above(0)},
            "contradicted": {"fit": above(0.01), "test": below(0)},
            "not seen here": {"fit": null(0.075), "test": null(1.5)},
        },
        condition={
            "not seen here": "At equal rates group norm is not seen to fit 1,000 images better than batch "
            "norm with statistics of 32 images. Each at its own best rate, and group norm's is larger, "
            "the difference is {fit_own:.3f} nats. 600 updates of a small net; the common "
            "bench decides.",
        },
        paper_for="Wu and He 2018, section 4.1",
    ),
    "GN-3": Claim(
        "Groups of neighbouring channels need not belong together",
        arms=("neighbours", "scattered", "1x1, group", "4x4, group", "4x4, batch, N=32"),
        seeds=20,
        effect="law",
        unit="points of error more with groups drawn at random before training",
        quantities={
            "law": "error with groups drawn at random before training, less that with neighbours "
            "(points)",
            "broken": "error after the channels of a trained net are permuted, less that before; "
            "three layers, last maps 1×1, ten seeds (points)",
            "broken_large": "the same, one layer, last maps of 4×4",
            "batch": "largest change of a logit with batch norm under such a permutation",
        },
        bounds={
            "holds": {"law": below(-0.5)},
            "half-true": {"law": null(0.75), "broken": above(0.5), "batch": below(1e-9)},
            "contradicted": {"law": null(0.75), "broken": below(0.5)},
        },
        condition={
            "half-true": "Before training any grouping is as good as another: drawn at random, it "
            "changes the error by {law:.1f} points. Training makes the channels of a group "
            "belong together: permuting them afterwards costs {broken:.1f} points in a net of four "
            "layers.",
        },
        paper_for="Wu and He 2018, section 3, by analogy with SIFT and HOG",
    ),
}

FINDINGS = {
    "conversion": Claim(
        "A net trained with batch norm can go on with group norm after some steps",
        arms=("converted", "batch, going on", "group, anew"),
        seeds=10,
        effect="at_once",
        unit="points of error more at once",
        quantities={
            "at_once": "error after the exchange of the layers, less that before (points)",
            "left": "error after 100 updates, less that of batch norm after as many (points)",
            "anew": "error of group norm after 100 updates from the start, less that (points)",
        },
        bounds={
            "holds": {
                "at_once": above(0.5),
                "left": null(2.5),
                "anew": above(4),
            }
        },
    ),
    "standardized weights": Claim(
        "With updates of two images group norm ends near batch norm's 32, with standardized "
        "weights or without",
        arms=("group, standardized", "group", "4x4, batch, N=32"),
        seeds=10,
        effect="both",
        unit="points of error over batch norm with 32 images",
        quantities={
            "both": "error with group norm and standardized weights, updates of 2 images, less "
            "that of batch norm with 32 (points)",
            "group": "the same with group norm alone",
        },
        bounds={"holds": {"both": below(1), "group": below(1.5)}},
    ),
    "frozen": Claim(
        "In fine-tuning with 2 images a statistic frozen batch norm beats batch norm, and group "
        "norm beats both",
        arms=("batch, N=2", "batch, frozen", "group", "batch, N=16", "none"),
        seeds=20,
        effect="thawed",
        unit="points of error more with statistics of 2 images than with frozen ones",
        quantities={
            "thawed": "error with statistics of 2 images, less that with frozen ones (points)",
            "frozen": "error with frozen statistics, less that of group norm (points)",
            "whole": "error of group norm, less that of batch norm with 16 images (points)",
            "none": "error without a norm, less that of group norm (points)",
        },
        bounds={
            "holds": {
                "thawed": above(3),
                "frozen": above(0),
                "whole": above(1),
                "none": above(0),
            }
        },
    ),
}
