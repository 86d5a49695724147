"""The choice of γ and other parameters by a sampler: what may be chosen, what is suggested, and what is pruned."""
