"""Reading prompts, battles and outcomes from files and data sets."""
