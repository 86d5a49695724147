"""One trial: batches with augmentation, the network's steps, checkpoints, and the trial from its spec to its scores."""
