"""How a number of a result is defined."""

from __future__ import annotations

from typing import NamedTuple

DW13 = "Decker and Wattenhofer, IEEE P2P 2013"
GERVAIS16 = "Gervais et al., CCS 2016"
GKL15 = "Garay, Kiayias and Leonardos, Eurocrypt 2015"


class Definition(NamedTuple):
    """One entry of a result, with its JSON type, or summary, or rate."""

    key: str
    type: str
    unit: str
    meaning: str
    source: str = ""
