"""Detection of intracranial haemorrhage on head CT: prepare, train, evaluate, run.

Research use only; not a medical device. Importing this package loads nothing heavy: Keras, JAX, OpenCV and polars
are imported by the modules that need them.
"""

import os

__version__ = "0.1.0"

# Keras reads this once, when it is first imported, and would otherwise look for TensorFlow. The user's choice stays.
os.environ.setdefault("KERAS_BACKEND", "jax")
