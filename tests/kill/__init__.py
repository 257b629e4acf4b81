"""SIGKILL: the real command line, workers and supervisors, killed at any moment and at named points of the code."""
