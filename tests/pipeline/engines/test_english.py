"""English is read out as a person does it, and nothing of it is lost."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engines import g2p
from pipeline.engines.english import read_out


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("At 9:00, 9:05 and 9:30.", "At 9 o'clock, 9 oh 5 and 9:30."),
        ("9 AM, 9:00 a.m. or 9:05 PM", "9am, 9am or 9 oh 5pm"),
        ("Come at 9 a.m.", "Come at 9am."),
        ("17:00, 17:00 hours, 00:00", "17 hundred, 17 hundred hours, midnight"),
        ("10:30:15, John 3:16", "10:30:15, John 3:16"),
        ("07:05, at 5 p.m. She left.", "7 oh 5, at 5pm. She left."),
        ("9.30pm, 9.00 a.m.-5.05 p.m.", "9:30pm, 9am to 5 oh 5pm."),
        ("a 10-15-minute walk", "a 10 to 15-minute walk"),
        ("9 AM-5 PM, 75°F – 80°F", "9am to 5pm, 75 degrees Fahrenheit to 80 degrees Fahrenheit"),
        ("10-15 minutes, 3-4pm, 5%-10%", "10 to 15 minutes, 3 to 4pm, 5% to 10%"),
        ("3 – 5 people, 5 - 3, 3 - 5 = -2", "3 to 5 people, 5 minus 3, 3 minus 5 = -2"),
        ("9:00-17:30, 1990–1995", "9 o'clock to 17:30, 19 90 to 19 95"),
        ("100 - 50 - 25 = 25, x - 3 = 5", "100 minus 50 minus 25 = 25, x minus 3 = 5"),
        ("Psalm 23:4, Luke 2:1-20, The 4:3", "Psalm 23 4, Luke 2 1 to 20, The 4 to 3"),
        ("16:9, a 1:1 call", "16 to 9, a 1 to 1 call"),
        ("24/7, 24-7, 9/11, 50/50", "24 7, 24 7, 9 11, 50 50"),
        ("1/2 a cup, 2/3, 1 1/2 cups", "½ a cup, 2 thirds, 1 and ½ cups"),
        ("4.5/5, 80/20, 3/4 time, 5/16", "4.5 out of 5, 80 20, 3 4 time, 5 sixteenths"),
        ("1-1/2, 1/4-1/2 cup, 2-2 1/2", "1 and ½, ¼ to ½ cup, 2 to 2 and ½"),
        ("8/10, 5/5, 120/80, 0/3", "8 out of 10, 5 out of 5, 120 over 80, 0 out of 3"),
        ("12/25/2024, 25/12/24", "December 25th, 2024, December 25th, 2024"),
        ("2024-12-25, 25.12.2024", "December 25th, 2024, December 25th, 2024"),
        ("2024/12/25, 3.4.2025, 5/12/85", "December 25th, 2024, April 3rd, 2025, May 12th, 85"),
        ("2024-13-25, 1.2.3", "2 0 2 4, 1 3, 2 5, 1.2.3"),
        ("555-1234, (555) 123-4567", "5 5 5, 1 2 3 4, 5 5 5, 1 2 3, 4 5 6 7"),
        ("1-800-555-1234", "1, 8 0 0, 5 5 5, 1 2 3 4"),
        ("+44 20 7946 0958", "plus 4 4, 2 0, 7 9 4 6, 0 9 5 8"),
        ("020 7946 0958, 07700 900123", "0 2 0, 7 9 4 6, 0 9 5 8, 0 7 7 0 0, 9 0 0 1 2 3"),
        ("call 911, Porsche 911, 476-1453", "call 9 1 1, Porsche 911, 476 to 14 53"),
        ("Troy, NY 12180, 90210-1234", "Troy, NY 1 2 1 8 0, 9 0 2 1 0, 1 2 3 4"),
        ("9-1-1, 10-12-14, 200-1000", "9, 1, 1, 10, 12, 14, 200 to 1000"),
        ("in 1905, 1984, 1900, 2024", "in 19 oh 5, 19 84, 19 hundred, 2024"),
        ("1,984, $1984, 1984 km, 1.1984", "1,984, $1984, 1984 kilometers, 1.1984"),
        ("1440 minutes, 1984", "1440 minutes, 19 84"),
        ("her 30s, The 60s and 70s, 1910s", "her thirties, The sixties and seventies, 19 tens"),
        ("the 1990s, the 80s, '20s", "the 19 nineties, the eighties, twenties"),
        ("1900s, 2000s, 2010, 30s", "19 hundreds, 2 thousands, 2010, 30s"),
        ("5 km, 1 km, a 5-km run", "5 kilometers, 1 kilometer, a 5 kilometer run"),
        ("a 16 oz can, an 8 GB card", "a 16 ounce can, an 8 gigabyte card"),
        ("½ tsp, 3/4 lb, 1 1/2 cm", "½ teaspoon, 3 quarters pound, 1 and ½ centimeters"),
        ("5 s, the 5s, 5m, 2 in 5, 2 in.", "5 seconds, the 5s, 5m, 2 in 5, 2 inches."),
        ("6 ft. 2 in tall, 60 W, 350 W 5th", "6 feet 2 inches tall, 60 watts, 350 W 5th"),
        ("$9/mo, 3 times/day, he/she", "$9 per month, 3 times per day, he/she"),
        ("70 mph, 1.5 kg, 6 ft", "70 miles per hour, 1.5 kilograms, 6 feet"),
        ("72°F, 5 m, 10 m²", "72 degrees Fahrenheit, 5 meters, 10 square meters"),
        ("16GB, 5 min. later, 5 in the morning", "16 gigabytes, 5 minutes later, 5 in the morning"),
        ("2 x 3, 1920x1080, 0x10, 2^3", "2 times 3, 19 20 by 1080, 0x10, 2 cubed"),
        ("9 x 13 inch, 9\"x13, 2 x 3", "9 by 13 inch, 9 by 13, 2 times 3"),
        ("E = mc², x^n, Ca²⁺", "E = mc squared, x to the power of n, Ca²⁺"),
        ("10⁻³, 10⁸ m", "10 to the power of -3, 10 to the power of 8 meters"),
        ("5'10\", #1, No. 5, C#", "5 foot 10, number 1, number 5, C sharp"),
        ("Dr. Lee of St. Paul on Wall St.", "Doctor Lee of Saint Paul on Wall Street."),
        ("1 Main St, 5th Ave, Oak Dr. is", "1 Main Street, 5th Avenue, Oak Drive is"),
        ("Then Dr. Lee, 1 Main St. Troy", "Then Doctor Lee, 1 Main Street Troy"),
        ("Ms Lee vs. Mt. Fuji vs the sea", "Miz Lee versus Mount Fuji versus the sea"),
        ("e.g. this, etc., i.e. no, etc.", "for example this, et cetera, that is no, et cetera."),
        ("in the U.S. or the U.K.", "in the U.S or the U.K."),
        ("the U.S. It is, etc. Then", "the U.S. It is, et cetera. Then"),
        ("L.A. is, CO2, my IQ, EVs, FAQs", "L.A is, C O 2, my I Q, E V's, F.A Q's"),
        ("Fig. 3, pp. 4-5, (c. 1500)", "figure 3, pages 4 to 5, (circa 15 hundred)"),
        ("Mon-Fri, Jan.–Mar., Mary-Jane", "Monday to Friday, January to March, Mary-Jane"),
        ("Jan 5th, 5 Dec 2024, 1st Feb.", "January 5th, 5 December 2024, 1st February."),
        ("Jan. 5, Sept 12, in Jan.", "January 5, September 12, in Jan."),
        ("Henry VIII, World War II, Rocky IV", "Henry the 8th, World War 2, Rocky 4"),
        ("Pope Leo XIV, Queen Anna II", "Pope Leo the 14th, Queen Anna the 2nd"),
        ("World War I. WWII", "World War 1. World War 2"),
        ("II ended", "2 ended"),  # "World War" was the clause before
        ("The IV drip, Size XL, I saw IIII", "The IV drip, Size XL, I saw IIII"),
        ("and/or, w/o milk, w/ sugar", "and or, without milk, with sugar"),
        ("covid-19, F-16, 5-year-old, v2.0", "covid-19, F-16, 5-year-old, v2.0"),
        ("10.0.0.1, a.b.com/1, x/2, MP3", "10.0.0.1, a.b.com/1, x/2, MP3"),
    ],
)  # fmt: skip
def test_is_said_as_a_person_would(written: str, said: str) -> None:
    assert read_out(written, day_first=False) == said


def test_the_british_name_the_day_first() -> None:
    assert g2p.speakable("3/4/2025", "en-gb") == "3rd of April, 2025"
    assert g2p.speakable("3/4/2025", "en-us") == "March 4th, 2025"


@pytest.mark.parametrize(
    ("written", "sound", "otherwise"),
    [
        ("9 AM", "ˌAˈɛm", "æm"),  # not the verb
        ("1/2", "hˈæf", "slˈæʃ"),
        ("10-15", " tə ", "dˈæʃ"),
        ("x = -3", "mˈInəs θɹˈi", "dˈæʃ"),
        ("Dr. Smith", "dˈɑktəɹ smˈɪθ", "."),  # no pause
        ("the U.S. is", "jˌuˈɛs ɪz", "."),
        ("Henry VIII", "ðɪ ˈAtθ", "ɹˌOmən"),
        ("16 GB of RAM, no less", "ʌv ɹˈæm", "ˌAˈɛm"),
        ("the FAQs are", "ˌɛfˈA kjˈuz", "fæk"),
        ("an M.A.", "ˌɛmˈA.", "mɑ"),  # not "ma"
        ("I got a C. He did.", "sˈi. hi", "sˈi hi"),
    ],
)
def test_is_heard_so(written: str, sound: str, otherwise: str) -> None:
    heard = g2p.phonemes(written, "en-us")
    assert sound in heard
    assert otherwise not in heard


_SAID = {
    "January": "1", "May": "5", "September": "9", "October": "1", "November": "11",
    "fifth": "5", "ninth": "9", "tens": "1", "nineties": "9", "fifties": "5",
}  # fmt: skip


@given(
    st.text(alphabet="0159.,:-/'x^%° apmsIVC", max_size=30),
    st.sampled_from(["en-us", "en-gb"]),
)
def test_no_digit_is_lost(text: str, language: str) -> None:
    """But zeros that nobody says. Those of a date change their places."""

    def digits(words: str) -> Counter[str]:
        words = re.sub("|".join(_SAID), lambda word: _SAID[word[0]], words)
        return Counter(digit for digit in words if digit in "159")

    if not re.search("[IV]{2}", text):
        assert digits(g2p.speakable(text, language)) == digits(text)


@given(st.text(alphabet="A1 -/:.x", max_size=40), st.booleans())
def test_words_stay(text: str, day_first: bool) -> None:
    said = read_out(text, day_first=day_first)
    assert said.count("A") >= text.count("A")
    assert bool(said.strip()) == bool(text.strip())
