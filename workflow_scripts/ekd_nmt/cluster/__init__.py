"""What jobs ask a cluster for, and the processes and jobs that a killed run has left."""
