"""The configuration: typed models, checks, error messages, and the experiment that it describes."""
