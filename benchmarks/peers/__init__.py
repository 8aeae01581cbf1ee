"""lumbre beside hand-written loops and other libraries: same nets, data, batches, optimizer, epochs and first weights.

`python -m benchmarks.peers --help` tells the options. `contenders/` holds one short function for each library, so that
a reader can judge whether it is fair; `works.py` what they are given; `child.py` times one of them; `__main__.py` plays
the rounds; `report.py` makes table and plot.
"""
