"""What all layers use: files, images, the Hub, registries, lazy imports and processes."""
