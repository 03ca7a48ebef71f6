"""Detection of intracranial haemorrhage on head CT: prepare, train, evaluate, run.

Research use only; not a medical device. Importing this package loads nothing heavy: Keras, JAX, OpenCV and polars
are imported by the modules that need them.
"""

from ich import keras_backend  # noqa: F401  first of all: Keras reads its backend once, when it is first imported

__version__ = "0.2.0"
