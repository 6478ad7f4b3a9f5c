"""Instance norm: what will be claimed; the bounds are stated before its chapter is run."""

from norms.experiments.claims import Claim

__all__ = ["CLAIMS"]

CLAIMS = {
    "IN+1": Claim("Instance norm does not depend on the size of the batch"),
    "IN+2": Claim("Instance norm strips a picture's style and speeds stylization up"),
    "IN-1": Claim("Instance norm discards contrast, which classification needs"),
    "IN-2": Claim("Instance norm lacks the regularization of the batch"),
}
