"""The configuration: typed models, checks, messages, and the experiment that they describe."""
