import subprocess
import sys

import pytest

# In a process of its own: the settings last. 64 MB are 16,384 pages.
CODE = """
import resource
import numpy as np
from ich.cpu_memory import keep_freed_memory

took = keep_freed_memory()
np.ones(2**23)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(2**23)
print(took, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_a_buffer_that_was_freed_is_used_again():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    took, faults = done.stdout.split()
    if took == "False":
        pytest.skip("the C library is not glibc")
    assert int(faults) < 100
