"""Spectral norm: what will be claimed; the bounds are stated before its chapter is run."""

from norms.experiments.claims import Claim

__all__ = ["CLAIMS"]

CLAIMS = {
    "SN+1": Claim("Spectral norm makes each layer about 1-Lipschitz"),
    "SN-1": Claim("Spectral norm costs extra in every step"),
    "SN-2": Claim("Spectral norm holds only the largest singular value"),
}
