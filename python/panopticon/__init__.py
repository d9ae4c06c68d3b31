"""Panopticon evaluates LLMs and keeps prompts, answers, scores and their embeddings in PostgreSQL.

This package carries the program `panopticon`; `python -m panopticon` runs it.
"""

from panopticon._program import find_program

__all__ = ["find_program"]
