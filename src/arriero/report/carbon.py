"""Energy and carbon of a stage, by the paper's own formula (section 2.2.1, table 2).

tCO2eq = hours x watts x PUE 1.1 x 0.385 kg/kWh; the two constants give every row of the paper's table 2. Nothing here
measures power: the watts are an estimate; both figures are proportional to them.
"""

from dataclasses import dataclass

PUE = 1.1
KG_PER_KWH = 0.385
# Package power of a laptop's CPU under sustained load: an estimate, not a reading.
LAPTOP_CPU_WATTS = 30.0


@dataclass(frozen=True)
class Footprint:
    hours: float
    watts: float

    @property
    def kwh(self) -> float:
        """Energy drawn at the wall of a data centre of that PUE."""
        return self.hours * self.watts * PUE / 1000

    @property
    def kg_co2eq(self) -> float:
        return self.kwh * KG_PER_KWH


def footprint(seconds: float, watts: float = LAPTOP_CPU_WATTS) -> Footprint:
    """Raises ValueError on a negative time or power."""
    if seconds < 0 or watts < 0:
        raise ValueError(f"time and power cannot be negative, got {seconds} s and {watts} W")
    return Footprint(seconds / 3600, watts)
