"""Benchmarks: `python -m tests.bench` (or `make bench`) measures the design's budget and prints a table.

    __main__  options, and the order of things     rows      what servers are asked, and every row's bound
    generate  conversations directories            builds    backfills, repeated, as rows
    shapes    the JSON that is in them             backfill  a first sync, and its floor, each in a process
    client    HTTP over plain sockets              server    the served program, and the floors' server
    measure   samples, and taking them in turn     floor     the floors' server, as a program
    rival     agent-server 1.58 on the same directories, where there is one
    table     the machine, the table, the JSON     administration  upgrade, backup, export, import: commands

Each figure stands beside a floor: the least that any program would do for the same answer. Not part of `make test`.
"""
