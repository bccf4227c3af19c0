"""Models and data on which an answer could be wrong without a word, each with an independent
truth.
"""
