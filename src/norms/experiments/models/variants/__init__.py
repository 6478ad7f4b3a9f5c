"""Forms of the norms that only experiments need, one file a norm."""
