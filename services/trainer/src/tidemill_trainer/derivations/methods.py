"""How a version is made of another one, and what is said of what is made."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tidemill_core.errors import Violation

INT8_BITS = 8
MIN_SPARSITY, MAX_SPARSITY = 0.05, 0.95
MAX_DROPPED_LAYERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """An adapter's weights are added to those of its base."""

    @property
    def name(self) -> str:
        """The method, which with the source version identifies what is made."""
        return "merge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantize:
    """Each row of the matrices becomes integers and one scale; an adapter is merged before."""

    bits: int = INT8_BITS

    @property
    def name(self) -> str:
        """The method with its settings, which with the source version identifies what is made."""
        return f"quantize_int{self.bits}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneMagnitude:
    """The smallest weights of each matrix become zero; an adapter is merged before."""

    sparsity: float

    @property
    def name(self) -> str:
        """The method with its settings, which with the source version identifies what is made."""
        return f"prune_magnitude_{self.sparsity!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneWanda:
    """The weights of each row that change least on examples become zero; an adapter is merged before."""

    sparsity: float
    calibration: str
    """`dataset@number`."""

    @property
    def name(self) -> str:
        """The method with its settings, which with the source version identifies what is made."""
        return f"prune_wanda_{self.sparsity!r} on {self.calibration}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DropLayers:
    """The consecutive decoder layers that change least on examples are removed; an adapter is merged before."""

    layers: int
    calibration: str
    """`dataset@number`."""

    @property
    def name(self) -> str:
        """The method with its settings, which with the source version identifies what is made."""
        return f"drop_layers_{self.layers} on {self.calibration}"


Method = Merge | Quantize | PruneMagnitude | PruneWanda | DropLayers


def calibration_of(method: Method) -> str:
    """Return the dataset version whose examples a method reads, "" where it reads none."""
    return method.calibration if isinstance(method, PruneWanda | DropLayers) else ""


def calibrated(method: Method, version: str) -> Method:
    """Return a method that reads examples with this version of its dataset."""
    return replace(method, calibration=version) if isinstance(method, PruneWanda | DropLayers) else method


def method_violations(method: Method) -> Iterator[Violation]:
    """Yield what a method does not accept."""
    match method:
        case Quantize(bits=bits) if bits != INT8_BITS:
            yield Violation("derivation.quantize.bits", f"is {bits}; supported is {INT8_BITS}")
        case PruneMagnitude(sparsity=sparsity) | PruneWanda(sparsity=sparsity):
            if not MIN_SPARSITY <= sparsity <= MAX_SPARSITY:
                of = "prune_magnitude" if isinstance(method, PruneMagnitude) else "prune_wanda"
                text = f"is {sparsity:g}; allowed: {MIN_SPARSITY:g} to {MAX_SPARSITY:g}"
                yield Violation(f"derivation.{of}.sparsity", text)
        case DropLayers(layers=layers) if not 1 <= layers <= MAX_DROPPED_LAYERS:
            yield Violation("derivation.drop_layers.layers", f"is {layers}; allowed: 1 to {MAX_DROPPED_LAYERS}")
    if isinstance(method, PruneWanda | DropLayers) and not method.calibration:
        of = "prune_wanda" if isinstance(method, PruneWanda) else "drop_layers"
        text = "is empty; name the dataset version whose examples are read: dataset, or dataset@number"
        yield Violation(f"derivation.{of}.calibration", text)


def described(method: Method) -> str:
    """Return what is made, for its card."""
    match method:
        case Merge():
            return "Full weights: an adapter merged into its base by Tidemill. It is loaded without the adapter."
        case Quantize():
            return (
                "Full weights in int8, made by Tidemill: each row of the matrices of linear and embedding layers is "
                "stored as integers from -127 to 127 and one scale; activations are computed in the serving format. "
                "Tidemill loads it."
            )
        case PruneMagnitude():
            return (
                "Full weights, of which Tidemill set those of smallest absolute value to zero, in each matrix of the "
                "decoder layers alike. They are stored as they were, so that neither file nor speed changes."
            )
        case PruneWanda():
            return (
                "Full weights, of which Tidemill set to zero those of smallest absolute value times the norm of their "
                "input on examples (Wanda; Sun et al., 2024), in each row of the decoder layers' matrices alike. They "
                "are stored as they were, so that neither file nor speed changes."
            )
        case DropLayers():
            return (
                "Full weights, of which Tidemill removed the consecutive decoder layers between whose input and output "
                "the angle is smallest on examples (Gromov et al., 2024). Train on it to heal what was lost."
            )
