"""The simulation of Cheetah's Section 2 (Barbette et al., NSDI 2020), bit for bit and at full scale.

What the authors published (repository cheetahlb/simulations, f071fe3) is simulated draw by draw with their
random generator, hash, ring and counting, so that results can be compared to the digit; wherever that differs
from what the text of the paper describes, a switch has the intended behaviour beside it.

    workload.cpython      the random numbers of CPython
    events, keys          arrivals, departures, and what a connection hashes to
    levels                who is the most and the least loaded
    block                 a block of arrivals with who leaves before each, settled ahead
    imbalance             "imbalance": placement by round robin, hash, power of two, least loaded
    groups                connections of a "dip" run that share their fate, and the rules that count them
    dip                   "DIP updates": connections broken by servers that go and come back
    dynamic_beamer        "moving buckets" and "broken connections" of a Beamer that rebalances
    plain                 the same in plain Python, the oracle
"""
