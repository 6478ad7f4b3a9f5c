"""Weight norm: what will be claimed; the bounds are stated before its chapter is run."""

from norms.experiments.claims import Claim

__all__ = ["CLAIMS"]

CLAIMS = {
    "WN+1": Claim("Weight norm costs nothing at inference"),
    "WN+2": Claim("Weight norm works on streams and in reinforcement learning"),
    "WN+3": Claim("Weight norm complements other norms"),
    "WN-1": Claim("The scale of the weights may drift, and the learning rate must follow"),
    "WN-2": Claim("Adaptive optimizers make weight norm's benefit vanish"),
    "WN-3": Claim("Weight norm helps less in very deep Transformers"),
}
