"""How a processor without AVX-512 and bfloat16 computes, on one that has them."""

WEAKER = {"TIDEMILL_NUMERIC_FORMAT": "float32", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
"""The environment in which processes that compute with models do so."""
NO_MORE_THAN_AVX2 = {"AVX2", "DEFAULT"}
"""What torch says of such a process; the other where the processor has no AVX2, as those of arm64."""
