"""Detection of intracranial haemorrhage on head CT: prepare, train, evaluate, run.

Research use only; not a medical device. Importing this package loads nothing heavy: Keras, JAX, OpenCV and polars
are imported by the modules that need them.
"""

__version__ = "0.1.0"
