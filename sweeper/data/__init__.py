"""The data sets of a grid on this machine, real or synthetic."""
