"""Other people's checkpoints in and out, and the proof that they are read right."""
