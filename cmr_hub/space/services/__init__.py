"""What the Space does without any user interface: galleries, queries, uploads and preparation."""
