"""Group norm: what will be claimed; the bounds are stated before its chapter is run."""

from norms.experiments.claims import Claim

__all__ = ["CLAIMS"]

CLAIMS = {
    "GN+1": Claim("Group norm does not depend on the size of the batch"),
    "GN+2": Claim("Group norm is stable for tiny and varying batches"),
    "GN+3": Claim("Group norm is better than batch norm in very small batches"),
    "GN-1": Claim("The number of groups is one more thing to tune"),
    "GN-2": Claim("Group norm regularizes less than batch norm"),
    "GN-3": Claim("Groups of neighbouring channels need not belong together"),
}
