"""`make bench`: the figures this project is held to, measured on this machine beside their aims.

A benchmark reports and never fails on a slow machine: times are judged in yardsticks (figures.py). The server runs in a
process of its own and is charged for its CPU time, which other work on the machine disturbs less than the time on the
clock.
"""
