"""How the networks learn: step 6."""

import ich.keras_backend  # noqa: F401
