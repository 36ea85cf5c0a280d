"""Benchmarks: `python -m tests.bench` (or `make bench`) measures the design's budget and prints a table.

    __main__  options, and the order of things     rows      what is measured, and its bound
    generate  conversations directories            backfill  a first sync, and its floor, each in a process
    shapes    the JSON that is in them             server    the served program, and the floor's server
    client    HTTP over plain sockets              measure   samples, and taking them in turn
    table     the machine, the table, the JSON

Each figure stands beside a floor: the least that any program would do for the same answer. Not part of `make test`.
"""
