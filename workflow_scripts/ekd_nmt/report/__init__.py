"""Tables and pages made from the results of an experiment."""
