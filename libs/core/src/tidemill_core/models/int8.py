"""The format of weights in int8: which matrices are quantized, and how their scales are named.

A matrix `<module>.weight` of a linear or embedding layer is stored as int8 from -127 to 127, with one scale a row in
`<module>.weight_scale`: weight = int8 * scale (symmetric, by the largest absolute value of the row; Jacob et al., 2018,
Dettmers et al., 2022). All other tensors are as they were. `config.json` says so, and nothing else, in its
`quantization_config`.
"""

from collections.abc import Iterable, Mapping

QUANTIZATION = "quantization_config"
"""The key of config.json."""
METHOD = "tidemill_int8"
INT8: Mapping[str, object] = {"quant_method": METHOD, "bits": 8, "symmetric": True, "axis": 0}
"""The only value of that key which is let in."""
SCALE = ".weight_scale"
"""What the name of a module's scales ends in."""
LARGEST = 127


def quantized_modules(tensors: Iterable[str]) -> frozenset[str]:
    """Return the modules whose weights are int8, by the names of all tensors."""
    return frozenset(name.removesuffix(SCALE) for name in tensors if name.endswith(SCALE))
