"""Labelling prompts with a language model as the judge: prompts and two models in, battles out."""
