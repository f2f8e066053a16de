"""Labels prompts with a language model as the judge: turns prompts and two models into battles."""
