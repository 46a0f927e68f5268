"""Comparison of models at equal budgets: which runs, their controls, results, tables, figures and page."""
