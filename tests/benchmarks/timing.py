"""How the benchmarks measure: both sides of a ratio in turns, in one run. They print, and assert on no time."""
import time

import numpy as np


def in_turns(slow, fast, rounds=30, calls=20, clock=time.perf_counter):
    """Seconds a call of both, each the fastest of its rounds: a busy machine only adds time."""
    def seconds(function):
        start = clock()
        for _ in range(calls):
            function()
        return (clock() - start) / calls

    seconds(slow), seconds(fast)  # caches, and tables that are made once
    return np.min([(seconds(slow), seconds(fast)) for _ in range(rounds)], axis=0)


def print_ratio(name, slow, fast, **how):
    """How many times as long as `fast` does `slow` take?"""
    before, after = in_turns(slow, fast, **how)
    unit, scale = ('us', 1e6) if before < 1e-3 else ('ms', 1e3)
    print(f'\n{name:44}{before * scale:9.1f} {unit} {after * scale:9.1f} {unit} {before / after:7.2f} times')
