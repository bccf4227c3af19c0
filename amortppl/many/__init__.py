"""Posteriors of very many datasets that lie one after another in one table."""
