"""Parameters of `leaderboard`: what its tasks take, with defaults and presets."""

from __future__ import annotations

from pydantic import Field

from fabloom.params import Params


class Entry(Params):
    """One row of Tables 1 to 3: a method, as it comes or as a variant that it declares."""

    method: str = Field(description="registered name of the method")
    variant: str = Field("", description="name of its variant, '' for the method as it comes")

    @property
    def title(self) -> str:
        """'sinsemi' or 'sinsemi + energy'."""
        return f"{self.method} + {self.variant}" if self.variant else self.method


class Setting(Params):
    """One row of an ablation table."""

    method: str = Field(description="registered name of the method")
    ablation: str = Field(description="what is varied: `steps`, `guidance`, or another name that the method declares")
    value: str = Field(description="the value of it, as in '10'")
    beside: str = Field("", description="other sampling parameters that the setting fixes, as in 'guidance.strength 1'")


class CompareParams(Params):
    """What the reports of the input lists are about, in their order."""

    entries: tuple[Entry, ...] = Field(min_length=1, description="one for each of `samples`, `quality` and `segmentation`, in their order")
    settings: tuple[Setting, ...] = Field((), description="one for each of `ablations`, in their order")
    shown: int = Field(8, ge=1, description="samples of each method in the picture")
