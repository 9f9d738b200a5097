"""Short forms, units and names, as English says them: tables only."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.engines.sign_words import SIGN_WORDS

NEVER_LAST: Mapping[str, str] = {
    "Dr": "Doctor", "Mr": "Mister", "Mrs": "Missus", "Ms": "Miz", "Prof": "Professor",
    "Mt": "Mount", "Ft": "Fort", "Rev": "Reverend", "Gen": "General", "Col": "Colonel",
    "Maj": "Major", "Capt": "Captain", "Lt": "Lieutenant", "Sgt": "Sergeant", "Gov": "Governor",
    "Sen": "Senator", "Rep": "Representative", "vs": "versus", "approx": "approximately",
    "Approx": "Approximately", "e.g": "for example", "E.g": "For example", "i.e": "that is",
    "I.e": "That is", "a.k.a": "also known as",
}  # fmt: skip
"""With a point behind, that ends no sentence -> said."""
SHORT: Mapping[str, str] = {
    "Jr": "Junior", "Sr": "Senior", "Ave": "Avenue", "Blvd": "Boulevard", "Rd": "Road",
    "St": "Street", "Ph.D": "PhD", "Inc": "Incorporated", "Corp": "Corporation", "Co": "Company",
    "Ltd": "Limited", "etc": "et cetera", "dept": "department", "Dept": "Department",
}  # fmt: skip
"""With a point that may end one, too."""
UNPOINTED: Mapping[str, str] = {
    "vs": "versus", "World War I": "World War 1", "WWI": "World War 1", "WWII": "World War 2",
    "CO2": "C O 2", "CO₂": "C O 2", "ACL": "A.C.L", "EPA": "E.P.A", "ETA": "E.T.A",
    "FAQ": "F.A.Q", "FAQs": "F.A Q's", "CAD": "cad", "LAN": "lan", "PIN": "pin", "RAM": "ram",
    "ROM": "rom", "SIM": "sim", "TED": "Ted", "WAN": "wan", "ZIP": "zip",
}  # fmt: skip
"""As they stand -> said; "A" by itself would be the article."""
ROADS: Mapping[str, str] = {
    "St": "Street", "Ave": "Avenue", "Blvd": "Boulevard", "Rd": "Road", "Dr": "Drive", "Ln": "Lane",
    "Ct": "Court", "Pkwy": "Parkway",
}  # fmt: skip
"""Behind a name, with a point or without."""
SPELT = frozenset((
    "ETF", "EV", "IMF", "IPO", "IQ", "LED", "NIH", "NYC", "UFC", "UPS", "USPS",
))  # fmt: skip
"""What espeak reads as a word, IQ as "ick", in a short clause. (Of the others it spells those of
three letters in a longer one: RAM is in `UNPOINTED`.)"""
OPENERS = frozenset((
    "A", "After", "Also", "And", "As", "At", "Because", "Before", "But", "Did", "Do", "Does", "For",
    "From", "He", "Her", "Here", "His", "How", "However", "I", "If", "In", "Is", "It", "Its", "My",
    "On", "Our", "Please", "She", "Since", "So", "Some", "That", "The", "Their", "Then", "There",
    "These", "They", "This", "Those", "Was", "We", "What", "When", "Where", "Which", "While", "Who",
    "Why", "With", "You", "Your",
))  # fmt: skip
"""With which a sentence opens, so that the point before it ends one: "in the U.S. It is"."""
COUNTED: Mapping[str, str] = {
    "No": "number", "no": "number", "Nos": "numbers", "nos": "numbers", "Fig": "figure",
    "Vol": "volume", "Ch": "chapter", "Op": "opus", "p": "page", "pp": "pages", "c": "circa",
    "ca": "circa", "Apt": "apartment", "Ste": "suite",
}  # fmt: skip
"""Before a number, with a point -> said."""
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
SHORT_MONTHS: Mapping[str, str] = {name[:3]: name for name in MONTHS} | {"Sept": "September"}
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
DAYS: Mapping[str, str] = {
    **{name[:3]: name for name in (*_DAYS, *MONTHS)},
    **{name: name for name in (*_DAYS, *MONTHS)},
    "Tues": "Tuesday", "Thurs": "Thursday", "Sept": "September",
}  # fmt: skip
"""And months, from which to which something goes."""
ROMAN: Mapping[str, int] = {
    f"{tens}{ones}": 10 * ten + one
    for ten, tens in enumerate(("", "X", "XX", "XXX", "XL", "L", "LX", "LXX", "LXXX"))
    for one, ones in enumerate(("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX"))
    if f"{tens}{ones}" != "XL"
}
"""XL is a size."""
DECADES: Mapping[str, str] = {
    "10": "tens", "20": "twenties", "30": "thirties", "40": "forties", "50": "fifties",
    "60": "sixties", "70": "seventies", "80": "eighties", "90": "nineties",
}  # fmt: skip
PER: Mapping[str, str] = {
    "second": "second", "sec": "second", "minute": "minute", "min": "minute", "hour": "hour",
    "hr": "hour", "day": "day", "week": "week", "wk": "week", "month": "month", "mo": "month",
    "year": "year", "yr": "year", "person": "person", "night": "night",
    "lb": "pound", "kg": "kilogram", "oz": "ounce", "gallon": "gallon", "gal": "gallon",
    "mile": "mile",
}  # fmt: skip
"""Behind a stroke: "$10/mo"."""
PARTS: Mapping[str, tuple[str, str]] = {
    **{
        str(below): (one, several)
        for below, one, several in zip(
            range(2, 10), SIGN_WORDS["en"].halves, SIGN_WORDS["en"].parts, strict=False
        )
    },
    "10": ("1 tenth", "tenths"), "12": ("1 twelfth", "twelfths"),
    "16": ("1 sixteenth", "sixteenths"),
    "32": ("1 thirty-second", "thirty-seconds"), "64": ("1 sixty-fourth", "sixty-fourths"),
}  # fmt: skip
"""Under a stroke: one of them, several. 7/10 is seven out of ten, though."""
NO_YEARS = (
    "byte", "calorie", "character", "copies", "day", "dollar", "employee", "euro", "feet", "foot",
    "gram", "hour", "island", "item", "liter", "litre", "member", "meter", "metre", "mile",
    "minute", "page", "people", "person", "pixel", "point", "pound", "second", "soldier", "species",
    "step", "student", "times", "ton", "unit", "volt", "watt", "word", "yard",
)  # fmt: skip
"""What there are 1440 of."""
_LENGTHS = (
    ("km", "kilometer", ""), ("m", "meter", ""), ("cm", "centimeter", ""), ("mm", "millimeter", ""),
    ("ft", "foot", "feet"), ("in", "inch", "inches"), ("yd", "yard", ""), ("mi", "mile", ""),
)  # fmt: skip
UNITS: Mapping[str, tuple[str, str]] = {
    sign: (one, several or f"{one}s")
    for sign, one, several in (
        *_LENGTHS,
        *((f"{sign}²", f"square {one}", several and f"square {several}")
          for sign, one, several in _LENGTHS),
        *((f"{sign}³", f"cubic {one}", several and f"cubic {several}")
          for sign, one, several in _LENGTHS),
        ("sq ft", "square foot", "square feet"), ("sq mi", "square mile", ""),
        ("sq km", "square kilometer", ""), ("sq m", "square meter", ""),
        ("kg", "kilogram", ""), ("g", "gram", ""), ("mg", "milligram", ""),
        ("mcg", "microgram", ""), ("µg", "microgram", ""), ("μg", "microgram", ""),
        ("lb", "pound", ""), ("lbs", "pound", ""), ("oz", "ounce", ""),
        ("fl oz", "fluid ounce", ""),
        ("tsp", "teaspoon", ""), ("tbsp", "tablespoon", ""), ("Tbsp", "tablespoon", ""),
        ("ml", "milliliter", ""), ("mL", "milliliter", ""), ("L", "liter", ""), ("qt", "quart", ""),
        ("gal", "gallon", ""),
        ("mph", "mile per hour", "miles per hour"),
        ("km/h", "kilometer per hour", "kilometers per hour"),
        ("m/s", "meter per second", "meters per second"),
        ("m/s²", "meter per second squared", "meters per second squared"),
        ("km/s", "kilometer per second", "kilometers per second"),
        ("ms", "millisecond", ""), ("s", "second", ""), ("sec", "second", ""),
        ("secs", "second", ""), ("min", "minute", ""), ("mins", "minute", ""), ("h", "hour", ""),
        ("hr", "hour", ""), ("hrs", "hour", ""), ("yr", "year", ""), ("yrs", "year", ""),
        ("KB", "kilobyte", ""), ("kB", "kilobyte", ""), ("MB", "megabyte", ""),
        ("GB", "gigabyte", ""), ("TB", "terabyte", ""),
        ("MB/s", "megabyte per second", "megabytes per second"),
        ("Mbps", "megabit per second", "megabits per second"),
        ("Gbps", "gigabit per second", "gigabits per second"),
        ("Hz", "hertz", "hertz"), ("kHz", "kilohertz", "kilohertz"),
        ("MHz", "megahertz", "megahertz"), ("GHz", "gigahertz", "gigahertz"), ("W", "watt", ""),
        ("kW", "kilowatt", ""), ("kWh", "kilowatt hour", ""), ("V", "volt", ""),
        ("mAh", "milliamp hour", ""), ("dB", "decibel", ""), ("kcal", "kilocalorie", ""),
        ("psi", "pound per square inch", "pounds per square inch"),
        ("mmHg", "millimeter of mercury", "millimeters of mercury"),
        ("°F", "degree Fahrenheit", "degrees Fahrenheit"),
        ("°C", "degree Celsius", "degrees Celsius"),
    )
}  # fmt: skip
"""Behind a number: of one, of several."""
KINGS = frozenset((
    "Albert", "Alexander", "Benedict", "Carlos", "Catherine", "Charles", "Christian", "Clement",
    "Edward", "Elizabeth", "Felipe", "Ferdinand", "Francis", "Frederick", "George", "Gregory",
    "Gustav", "Henry", "Innocent", "Ivan", "James", "John", "Joseph", "Leo", "Leopold", "Louis",
    "Mary", "Napoleon", "Nicholas", "Otto", "Paul", "Peter", "Philip", "Pius", "Ptolemy", "Ramses",
    "Ramesses", "Richard", "Robert", "Urban", "Victor", "Wilhelm", "William",
))  # fmt: skip
"""Whose numeral is said with "the"; of anything else it is a plain number: "World War 2"."""
THRONES = frozenset((
    "Emperor", "Kaiser", "King", "Pharaoh", "Pope", "Prince", "Queen", "Sultan", "Tsar",
))  # fmt: skip
"""Before any other king."""
NO_NAMES = frozenset((
    "A", "An", "And", "For", "Get", "Give", "Her", "His", "In", "My", "Or", "Our", "Start", "The",
    "Their", "This", "Use", "With", "Your",
))  # fmt: skip
"""Before letters that are no numeral: "The IV drip"."""
