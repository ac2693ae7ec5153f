"""Run a training's batches before it starts; nothing of it stays."""
