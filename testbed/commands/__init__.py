"""What each command does. A command reads its input, calls one function of the testbed, and prints.

Nothing here decides or computes; results go to stdout, everything else to stderr.
"""
