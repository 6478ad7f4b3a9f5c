"""What networks end with: the mean of the last three of ten records, on the test part."""

from functools import partial

import numpy as np

from norms.experiments.data import digits
from norms.experiments.late import late_accuracies
from norms.experiments.models import MLP
from norms.experiments.training import seeded, train


def test_the_last_three_of_ten_records_are_averaged_for_each_seed():
    net, small = partial(MLP, "none", 1, 8), digits()
    builds = {scale: partial(seeded, net, weight_scale=scale) for scale in (1.0, 0.1)}
    how = {"seeds": [3, 4], "steps": 20, "batch_size": 10, "momentum": 0.5}
    found = late_accuracies(builds, small, learning_rate=0.1, **how)
    assert list(found) == [1.0, 0.1]
    for scale, build in builds.items():
        run = train(build, small, learning_rates=[0.1], every=2, **how)
        assert run.steps == list(range(2, 21, 2))
        np.testing.assert_allclose(found[scale], run.test[7:, 0].mean(0), rtol=1e-6)
        assert found[scale].shape == (2,)
        assert not np.allclose(found[scale], run.validation[7:, 0].mean(0))
