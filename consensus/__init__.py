"""Consensus: "I decide what to say and what is final."

This room knows replicas by number, views, blocks, the bound Δ, the `now_ns` it is handed and its own source of
chance. It must not know endpoints, orbits, clocks, sockets, asyncio, numpy, logging, or that a test is running.
A replica is a pure state machine: events in, effects out, nothing else.
"""
