import sys
from tests.sim.world import run
import time
t=time.perf_counter()
r=run(int(sys.argv[1]))
print("\n".join(r.lines)); print(r.outcome, r.faults, r.hash, r.seconds, time.perf_counter()-t)
