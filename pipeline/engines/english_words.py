"""Short forms, units and names, as English says them: tables only."""

from __future__ import annotations

from collections.abc import Mapping

SHORT: Mapping[str, str] = {
    "Dr": "Doctor", "Mr": "Mister", "Mrs": "Missus", "Ms": "Miz", "Prof": "Professor",
    "Mt": "Mount", "Jr": "Junior", "Sr": "Senior", "Rev": "Reverend", "Gen": "General",
    "Capt": "Captain", "Lt": "Lieutenant", "Sgt": "Sergeant", "Gov": "Governor", "Sen": "Senator",
    "Ave": "Avenue", "Blvd": "Boulevard", "Rd": "Road", "Ph.D": "PhD", "Inc": "Incorporated",
    "Corp": "Corporation", "Ltd": "Limited", "vs": "versus", "etc": "et cetera",
    "approx": "approximately", "dept": "department", "e.g": "for example", "E.g": "For example",
    "i.e": "that is", "I.e": "That is", "a.k.a": "also known as",
}  # fmt: skip
"""Written with a point behind -> said."""
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
DECADES: Mapping[str, str] = {
    "20": "twenties", "30": "thirties", "40": "forties", "50": "fifties", "60": "sixties",
    "70": "seventies", "80": "eighties", "90": "nineties",
}  # fmt: skip
UNITS: Mapping[str, tuple[str, str]] = {
    sign: (one, several or f"{one}s")
    for sign, one, several in (
        ("km", "kilometer", ""), ("cm", "centimeter", ""), ("mm", "millimeter", ""),
        ("m²", "square meter", ""), ("km²", "square kilometer", ""), ("m³", "cubic meter", ""),
        ("kg", "kilogram", ""), ("g", "gram", ""), ("mg", "milligram", ""), ("lb", "pound", ""),
        ("lbs", "pound", ""), ("oz", "ounce", ""), ("ml", "milliliter", ""),
        ("mL", "milliliter", ""), ("L", "liter", ""), ("ft", "foot", "feet"), ("yd", "yard", ""),
        ("mi", "mile", ""), ("mph", "mile per hour", "miles per hour"),
        ("km/h", "kilometer per hour", "kilometers per hour"),
        ("m/s", "meter per second", "meters per second"), ("ms", "millisecond", ""),
        ("sec", "second", ""), ("secs", "second", ""), ("min", "minute", ""),
        ("mins", "minute", ""), ("hr", "hour", ""), ("hrs", "hour", ""), ("KB", "kilobyte", ""),
        ("kB", "kilobyte", ""), ("MB", "megabyte", ""), ("GB", "gigabyte", ""),
        ("TB", "terabyte", ""), ("Hz", "hertz", "hertz"), ("kHz", "kilohertz", "kilohertz"),
        ("MHz", "megahertz", "megahertz"), ("GHz", "gigahertz", "gigahertz"), ("W", "watt", ""),
        ("kW", "kilowatt", ""), ("kWh", "kilowatt hour", ""),
        ("°F", "degree Fahrenheit", "degrees Fahrenheit"),
        ("°C", "degree Celsius", "degrees Celsius"),
    )
}  # fmt: skip
"""Behind a number: of one, of several."""
KINGS = frozenset((
    "Alexander", "Catherine", "Charles", "Edward", "Elizabeth", "Francis", "Frederick", "George",
    "Henry", "Ivan", "James", "John", "Louis", "Mary", "Napoleon", "Nicholas", "Paul", "Peter",
    "Philip", "Pius", "Richard", "Victor", "Wilhelm", "William",
))  # fmt: skip
"""Whose numeral is said with "the"; of anything else it is a plain number: "World War 2"."""
NO_NAMES = frozenset((
    "A", "An", "And", "Her", "His", "In", "My", "Or", "Our", "Size", "The", "Their", "This", "Your",
))  # fmt: skip
"""Before letters that are no numeral: "The IV drip", "Size XL"."""
