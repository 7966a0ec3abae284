"""The base classes of models and configurations, and the losses, solvers and codes that methods share."""
