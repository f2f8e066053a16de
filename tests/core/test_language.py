"""Which language a prompt is in."""

import pytest

from pointsman.core.language import LANGUAGES, guess_language

TEXTS = {
    "en": "What is the best way to learn to play the piano?",
    "de": "Wie kann ich das Fenster in der Küche reparieren?",
    "fr": "Comment est-ce que je peux réparer la fenêtre de la cuisine ?",
    "es": "¿Cómo puedo arreglar la ventana de la cocina?",
    "it": "Come posso riparare la finestra della cucina?",
    "pt": "Como posso consertar a janela da minha cozinha? Não sei o que fazer.",
    "nl": "Hoe kan ik het raam van de keuken repareren?",
    "pl": "Jak naprawić okno w kuchni i ile to kosztuje? Proszę o radę.",
    "tr": "Bu pencere için ne yapmalıyım ve nasıl tamir ederim?",
    "ru": "Как починить окно на кухне? Это сложно?",
    "uk": "Як відремонтувати вікно на кухні?",
    "el": "Πώς μπορώ να επισκευάσω το παράθυρο;",
    "zh": "怎么修理厨房的窗户？",
    "ja": "台所の窓を修理するにはどうすればいいですか？",
    "ko": "부엌 창문을 어떻게 고치나요?",
    "ar": "كيف يمكنني إصلاح النافذة؟",
    "he": "איך אני מתקן את החלון?",
    "hi": "मैं खिड़की कैसे ठीक करूं?",
    "th": "ฉันจะซ่อมหน้าต่างได้อย่างไร",
}


@pytest.mark.parametrize("language", TEXTS)
def test_a_sentence_is_told(language):
    """One ordinary sentence of each language is enough."""
    assert guess_language(TEXTS[language]) == language
    assert language in LANGUAGES


@pytest.mark.parametrize("text", ["", "   ", "12 + 30 = ?", "\ud800", "🙂🙂", "x" * 10_000])
def test_what_is_in_no_language_is_none(text):
    """Numbers, signs, lone surrogates and meaningless letters are in no language."""
    assert guess_language(text) is None


def test_quotes_in_another_script_do_not_count():
    """The script of most letters decides."""
    assert guess_language("What does the word спасибо mean in the language of my neighbours?") == "en"
