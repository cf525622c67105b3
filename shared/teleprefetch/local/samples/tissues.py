"""What tissues measure on CT, in HU."""

from typing import Final

FAT: Final = -100.0
MUSCLE: Final = 52.0
LUNG: Final = -865.0
GAS: Final = -990.0
CORTEX: Final = 620.0
MARROW: Final = 190.0
CARTILAGE: Final = 110.0
