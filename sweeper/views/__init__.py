"""What a person or program is shown of a sweep: status, result tables, heat map, example segmentations."""
