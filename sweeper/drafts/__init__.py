"""From a folder of images to a grid that runs as it is: `sweeper init`.

`layout` finds out which files are images and which masks, `values` what the masks' values and the images' channels are,
`fingerprint` measures, `rules` decides by what was measured, `budget` fits the plan into a time, `text` writes the
grid, and `make` calls them in this order. docs/init.md states the rules with their source.
"""
