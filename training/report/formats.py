"""Numbers as a report and the command write them."""


def measure(value: float, headline: str, unit: str) -> str:
    """A headline measure with its unit."""
    return f"{value:.3f} bits per {unit}" if headline == "bits" else f"{100 * value:.1f} % correct"


def duration(seconds: float) -> str:
    """Seconds for people.

    Example:
        >>> duration(75), duration(4000)
        ('1 min 15 s', '1 h 6 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
