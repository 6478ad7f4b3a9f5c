"""How well networks do near the end of their training, where one record alone is noisy."""

from functools import partial

from norms.experiments.training import run_arms, train

__all__ = ["late_accuracies"]


def late_accuracies(builds, data, *, steps, learning_rate, **options):
    """Train several networks side by side, each at one learning rate; return what they end with.

    Args:
        builds: dictionary from a name to a function of the seeds, see
            :func:`norms.experiments.training.train`.
        data: a :class:`norms.experiments.data.Dataset`.
        steps: a multiple of 10, the number of records.
        learning_rate: of all of them.
        **options: of ``train``, such as ``seeds`` and ``batch_size``.

    Returns:
        Dictionary from the name to an array (S,): test accuracy in percent, the mean of the last
        three records.
    """
    shared = {"learning_rates": [learning_rate], "steps": steps, "every": steps // 10, **options}
    jobs = {
        name: partial(train, build, data, parts=["test"], **shared)
        for name, build in builds.items()
    }
    return {k: run.test[-3:, 0].mean(0).double().numpy() for k, run in run_arms(jobs).items()}
