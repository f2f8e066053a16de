"""How the bundled common-sense weights were trained: on plainly easy and plainly hard prompts."""

__all__ = ["EXAMINATIONS"]

# how many questions of each source stand for what does not show how hard it is
EXAMINATIONS = {
    "outcomes_mmlu_pro": 1200,
    "outcomes_reasoning_gym": 800,
    "outcomes_paretobandit": 800,
    "outcomes_llmrouter_example": 800,
}
