"""From raw images and texts to features: the processor of a checkpoint, and the store of encoded features."""
