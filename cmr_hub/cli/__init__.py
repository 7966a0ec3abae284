"""The `cmr` command. Its modules import nothing heavy, so that help and refusals of wrong options are immediate."""
