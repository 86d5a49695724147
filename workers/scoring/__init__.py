"""From a trained network to scores: prediction of whole images, grids, metrics, pictures."""
