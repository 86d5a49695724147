"""What a user would write without a program for sweeps: a Keras training script, and Ray Tune around it.

They train the same networks with the same losses on the same arrays as `sweeper` does in `benchmarks.sweep`, validate
after each epoch, keep the best weights, score the same images with the same metrics, and write the scores to a file.
"""
