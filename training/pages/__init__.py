"""The frame of all HTML pages: one base template with its style, and the function that fills templates."""
