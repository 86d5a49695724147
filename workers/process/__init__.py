"""The training process: the child that holds TensorFlow, its owner's side, and who may write in a trial's folder."""
