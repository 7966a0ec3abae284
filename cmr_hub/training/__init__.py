"""Train a method on a data set: recipes, data sets of features, the trainer, fine-tuning, several processes."""
