"""Try a training's batches before it starts, and restore its state."""
