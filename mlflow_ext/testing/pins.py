"""The twin of `store/pins.py`: reads the pins that `MemoryPromotions.record` puts on the shelf."""

from dataclasses import dataclass, field

from mlflow_ext.domain.pins import Manifest, Pin
from mlflow_ext.testing.promotions import PromotionShelf


@dataclass(slots=True)
class MemoryPins:
    """The `Pins` port."""

    shelf: PromotionShelf = field(default_factory=PromotionShelf)

    def get(self, model: str, version: int) -> Pin | None:
        """Give one version's pin."""
        return self.shelf.pins.get((model, version))

    def manifest(self, model: str, version: int) -> Manifest | None:
        """Give one version's pinned files."""
        pin = self.get(model, version)
        return pin.manifest if pin else None

    def of(self, model: str) -> dict[int, str]:
        """Give the digests of a model's pinned versions, by version."""
        return {version: pin.manifest.digest for (name, version), pin in list(self.shelf.pins.items()) if name == model}
