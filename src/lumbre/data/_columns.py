"""The columns of a frame as a fitted model keeps them."""

from dataclasses import dataclass

CIRCLES = ("month sine", "month cosine", "weekday sine", "weekday cosine", "hour sine", "hour cosine")


@dataclass(frozen=True, slots=True)
class Column:
    """How one column becomes numbers.

    Attributes:
        name: its name in the frame.
        kind: "number", "boolean", "category", "date", or "datetime" for dates with a time of day; of targets "integer",
            "float" or "category" ("number" in files of older versions, where the rows decide which of both it is).
        levels: the categories in order; of dates the name of their zone, where they have one; empty for other kinds.
        gaps: whether a column of 0 and 1 says where values are missing, or they are a category of their own, the last.
        buckets: how many hashed categories there are; 0 where they have names.
    """

    name: str
    kind: str
    levels: tuple[str, ...] = ()
    gaps: bool = False
    buckets: int = 0

    @property
    def is_date(self) -> bool:
        """Whether it holds dates."""
        return self.kind in ("date", "datetime")

    @property
    def measured(self) -> bool:
        """Whether it holds numbers, booleans or dates."""
        return self.kind != "category"

    @property
    def codes(self) -> int:
        """How many different codes a category has, that of missing values among them."""
        return (self.buckets or len(self.levels)) + self.gaps

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of what is centred and scaled of it: itself, or year and days of dates."""
        if self.is_date:
            return f"{self.name} year", f"{self.name} days"
        return (self.name,) if self.kind == "number" else ()

    def encoded(self, *, one_hot: bool) -> tuple[str, ...]:
        """Names of the columns of numbers that it becomes, in order; none for a category as a code."""
        if not self.measured:
            levels = self.levels or tuple(f"hash {number}" for number in range(self.buckets))
            names = tuple(f"{self.name} = {level}" for level in levels)
            return (*names, *self._missing) if one_hot else ()
        if not self.is_date:
            return (self.name, *self._missing)
        circles = CIRCLES if self.kind == "datetime" else CIRCLES[:4]
        return (*self.parts, *(f"{self.name} {circle}" for circle in circles), *self._missing)

    @property
    def _missing(self) -> tuple[str, ...]:
        return (f"{self.name} missing",) if self.gaps else ()
