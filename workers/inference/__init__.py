"""Applying trained networks to new images: from an image's files to a label map on the image's own grid."""
