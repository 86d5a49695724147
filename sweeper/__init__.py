"""Runs a whole loss-function study in medical image segmentation as one command, and answers its question."""
