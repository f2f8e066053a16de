"""Prompts that look like people's, for loads: a question, a task, some code, a text to work on; 5 to 400 words."""

import random
from collections.abc import Sequence

__all__ = ["make_prompts"]

_ASKED = (
    "What is the difference between {a} and {b}, and when does it matter for {c}?",
    "Explain {a} to somebody who knows {b} but has never heard of {c}.",
    "Write a short story about {a}, in which {b} turns out to be {c}.",
    "Why does {a} depend on {b}? Prove it, or give a counter-example with {c}.",
    "Translate into French, and keep the tone: we met at {a}, talked about {b}, and parted over {c}.",
    "Plan three days around {a} for a family that likes {b} and cannot stand {c}.",
    "Write a Python function that reads {a}, groups it by {b} and returns {c}. Add tests.",
    "A train carries {a} at 80 km/h, another one {b} at 110 km/h. When do they meet at {c}?",
)
_THINGS = (
    *("the harmonic series", "a hash table", "the French Revolution", "photosynthesis", "a mortgage", "entropy"),
    *("a list of invoices", "the river Rhine", "compound interest", "a linear map", "sourdough bread", "jazz"),
    *("the immune system", "a binary search", "the minimum wage", "a sonnet", "plate tectonics", "an old lighthouse"),
    *("the second law of thermodynamics", "customer records", "a chess opening", "inflation", "a lost umbrella"),
)
_WORDS = (
    "the of and to in that it is was for on are as with they at be this from have or by one had not but what all were "
    "when we there can an your which their said if do will each about how up out them then she many some so these "
    "would other into has more her two like him see time could no make than first been its who now people my made over "
    "did down only way find use may water long little very after words called just where most know get through back "
    "much before go good new write our used me man too any day same right look think also around another came come "
    "work three word must because does part even place well such here take why things help put years different away"
)
_MOST_WORDS = 400


def make_prompts(n_prompts: int = 512, *, seed: int = 0) -> Sequence[str]:
    """So many prompts, all different, the same ones for the same seed; half of them have less than 50 words."""
    rng, words = random.Random(seed), _WORDS.split()
    prompts: dict[str, None] = {}
    while len(prompts) < n_prompts:
        a, b, c = rng.sample(_THINGS, 3)
        n_words = round(_MOST_WORDS ** rng.random())
        text = " ".join(rng.choice(words) for _ in range(n_words))
        prompts[f"{rng.choice(_ASKED).format(a=a, b=b, c=c)}\n\n{text}"[: 6 * _MOST_WORDS]] = None
    return list(prompts)
