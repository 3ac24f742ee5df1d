"""What was found, in words."""

from __future__ import annotations

from fabloom.method import Structure, Survey

SHOWN = 12
"""Classes of maps that are named."""


def found_in_words(found: Survey) -> list[str]:
    """One line for each thing that was looked at."""
    if found.given:
        return maps_in_words(found)
    lines = [f"layout: {found.layout}", f"images: {sizes(found)}, {colour(found)}, {found.bits} bits"]
    lines.append(f"defects: {domains(found)}")
    lines += [f"classes: {', '.join(found.classes)}"] if found.classes else []
    lines.append(f"masks: {masks(found)}")
    lines += [f"references: {found.references} images have a clean picture of the same place"] if found.references else []
    lines += structure(found.structure, bool(found.references)) if found.structure else []
    if found.spots:
        lines.append(f"clean images differ from each other in places of up to {found.spots} px")
    if found.bits > 8 and "grey_range" not in found.params:
        lines.append("note: grey levels are mapped by percentiles of this set; --load grey_range=[LOW,HIGH] maps later images alike")
    return lines + [f"note: {note}" for note in found.notes]


def maps_in_words(found: Survey) -> list[str]:
    """The same of maps of dies."""
    parts = [(found.clean, "without"), (found.defect, "with one"), (found.unknown, "of which nothing says")]
    told = ", ".join(f"{count:,} {what} ({count / found.images:.0%})" for count, what in parts if count)
    lines = [f"layout: {found.layout}", f"maps: {sizes(found)} dies", f"patterns: {told}"]
    lines += [f"sources: they come from {found.sources:,} lots"] if found.sources not in (0, found.images) else []
    if found.counts:
        each = [f"{count:,} {name}" for name, count in zip(found.classes, found.counts, strict=True)]
        more = f" and {len(each) - SHOWN} other classes" if len(each) > SHOWN else ""
        lines.append(f"labels: {', '.join(each[:SHOWN])}{more}")
    return lines + [f"note: {note}" for note in found.notes]


def sizes(found: Survey) -> str:
    """How many images of which size."""
    shown = [f"{count:,} of {height} x {width}" for (height, width), count in list(found.sizes.items())[:4]]
    more = len(found.sizes) - len(shown)
    return ", ".join(shown) + (f" and {more} other sizes" if more else "")


def colour(found: Survey) -> str:
    """Grey or colour."""
    return "grey" if found.channels == 1 else f"{found.channels} channels"


def domains(found: Survey) -> str:
    """How many clean and defect images."""
    parts = [(found.clean, "clean"), (found.defect, "with a defect"), (found.unknown, "of which nothing says")]
    return ", ".join(f"{count} {what} ({count / found.images:.0%})" for count, what in parts if count)


def masks(found: Survey) -> str:
    """How many images have one, and how large defects are in them."""
    if not found.masks:
        return "none"
    extent = f", nine of ten defects within {found.extent} px" if found.extent else ""
    return f"{found.masks} of {found.images} images have one{extent}"


def structure(seen: Structure, references: bool) -> list[str]:
    """Lattice, registration and symmetry."""
    kind = {0: "no lattice", 1: "lines", 2: "an array"}[seen.directions]
    lines = [f"structure: {kind}" + (f" with a period of {seen.period:.1f} px" if seen.period else "")]
    if len(seen.steps) == 2:
        one, other = (f"({down:.1f}, {right:.1f})".replace("-0.0", "0.0") for down, right in seen.steps)
        lines[0] += f": it repeats by {one} and by {other} px down and right"
    other = "their references" if references else "each other"
    if seen.likeness is None:
        lines.append("registered: unknown, there is nothing to compare")
    elif seen.registered:
        lines.append(f"registered: yes, the images show the same as {other} (correlation {seen.likeness:.2f}, shift {seen.shift:.1f} px)")
    elif seen.alike:
        lines.append(f"registered: no, the same structure shifted by {seen.shift:.0f} px (correlation {seen.likeness:.2f} once aligned)")
    else:
        lines.append(f"registered: no, the images show other places than {other} (correlation {seen.likeness:.2f})")
    if seen.edge:
        lines.append(f"edges: lie up to {seen.edge} px elsewhere than in the references all over, which is no defect")
    same = [name for name, may in (("left-right", seen.mirrors_x), ("top-bottom", seen.mirrors_y)) if may]
    lines.append(f"symmetry: looks the same mirrored {' and '.join(same)}" if same else "symmetry: looks otherwise when mirrored")
    return lines
