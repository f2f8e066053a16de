"""Work on many prompts on a Ray cluster; only modules here import ray."""
