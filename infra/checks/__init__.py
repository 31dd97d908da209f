"""What holds the Bicep templates to what they promise, without Azure and without its compiler.

`template` reads a file into plain objects, `evaluation` works them out for given parameters, as a deployment would, and
the other modules look at the two. infra/check.py runs them all.
"""
