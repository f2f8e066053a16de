"""Detects the language of a text by its script, or by its commonest words if languages share a script."""

import re
import unicodedata
from collections import Counter

__all__ = ["LANGUAGES", "guess_language"]

_MAX_CHARACTERS = 2000
_SCRIPTS = {
    "HIRAGANA": "ja", "KATAKANA": "ja", "HANGUL": "ko", "CJK": "zh", "GREEK": "el", "HEBREW": "he", "ARABIC": "ar",
    "THAI": "th", "DEVANAGARI": "hi", "BENGALI": "bn", "TAMIL": "ta", "TELUGU": "te", "GEORGIAN": "ka",
    "ARMENIAN": "hy", "CYRILLIC": "cyrillic", "LATIN": "latin",
}  # fmt: skip
_LETTERS_OF = {
    "cyrillic": (("uk", "іїєґ"), ("bg", "ъщ"), ("ru", "ыэё")),
    "ar": (("fa", "پچژگ"), ("ur", "ٹڈڑے")),
}
_WORDS = {
    "en": "the of and to in is that it for you with on are this what how i my do can be from a me why which",
    "de": "der die das und ist nicht ich ein eine zu den mit wie was für von auf im dem bitte sie kann mir wir wird",
    "fr": "le la les des et est un une que je vous pour dans ce il sur pas qui avec du au comment moi quelle mon",
    "es": "el la los las de que y en un una es por para con no se mi como qué lo del al cómo puedo cuál está",
    "it": "il lo la gli che di e un una è per con non come mi del della sono questo nel alla posso qual perché",
    "pt": "o a os as de que e um uma é para com não do da em no na como por meu você qual está eu",
    "nl": "de het een en van is dat niet ik je met op voor te zijn wat hoe mijn wij naar deze kan er",
    "sv": "och att det som en är på för jag med inte av den hur vad min kan ett till har du",
    "da": "og at det som en er på for jeg med ikke af den hvordan hvad min kan et til har du",
    "no": "og å det som en er på for jeg med ikke av den hvordan hva min kan et til har du",
    "fi": "ja on ei että se en mitä miten minun kun niin ovat oli voi tämä mikä olen",
    "pl": "i w na z się nie to jest że do jak co mi czy moje dla po od ten jaki jaka proszę",
    "cs": "a je v na se že to jak co mi pro s do ne jsem jaké která prosím můj",
    "tr": "ve bir bu için ne mi ile nasıl da de çok ben var olarak mı bana lütfen",
    "ro": "și de la în un o este nu cu pe care ce cum mi din pentru sunt îmi să",
    "hu": "a az és hogy nem egy is van mi meg ez hogyan mit kell nekem ezt milyen",
    "id": "dan yang di untuk dengan ini itu saya tidak apa bagaimana dari ke adalah bisa",
    "vi": "và là của có không cho tôi một các được trong với này như thế nào gì",
}
_SETS = {language: frozenset(words.split()) for language, words in _WORDS.items()}
_WORD = re.compile(r"[^\W\d_]+")
LANGUAGES = tuple(
    sorted({*_WORDS, *(v for v in _SCRIPTS.values() if len(v) == 2), *(k for v in _LETTERS_OF.values() for k, _ in v)})
)


def guess_language(text: str) -> str | None:
    """Language of a text by ISO 639-1, one of `LANGUAGES`, or None. Only the first 2,000 characters count.

    The script of most letters decides; Japanese is recognized by its kana. Languages that share a script by
    letters or common words of their own: a few words may contain none.
    """
    letters = [character for character in text[:_MAX_CHARACTERS] if character.isalpha()]
    scripts = Counter(_SCRIPTS.get(_script(character), "") for character in letters)
    scripts.pop("", None)
    if not scripts:
        return None
    found = scripts.most_common(1)[0][0]
    if found == "zh" and scripts["ja"]:
        return "ja"
    if found == "latin":
        return _by_words(text[:_MAX_CHARACTERS])
    present = set("".join(letters).lower())
    told = next((language for language, own in _LETTERS_OF.get(found, ()) if present & set(own)), None)
    return told or ("ru" if found == "cyrillic" else found)


def _script(character: str) -> str:
    return "LATIN" if character.isascii() else unicodedata.name(character, "").partition(" ")[0]


def _by_words(text: str) -> str | None:
    words = [word.lower() for word in _WORD.findall(text)]
    shares: dict[str, float] = dict.fromkeys(_SETS, 0.0)
    for word in words:
        known = [language for language, own in _SETS.items() if word in own]
        for language in known:
            shares[language] += 1.0 / len(known)
    best = max(shares, key=lambda language: shares[language])
    return best if shares[best] > 0.0 else None
