"""How a processor without AVX-512 and bfloat16 computes, on one that has them."""

WEAKER = {"TIDEMILL_NUMERIC_FORMAT": "float32", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
"""The environment in which processes that compute with models do so."""
