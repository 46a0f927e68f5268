"""Every byte has the class that Python's own predicates say."""

import string

from sma.training.tasks.text.byte_classes import BYTE_CLASSES, CLASS_OF_BYTE


def test_every_byte_has_its_class():
    members = {
        "letter": string.ascii_letters,
        "digit": string.digits,
        "space": string.whitespace,
        "punctuation": string.punctuation,
    }
    wanted = ["other"] * 256
    for name, characters in members.items():
        for character in characters:
            wanted[ord(character)] = name
    assert [BYTE_CLASSES[i] for i in CLASS_OF_BYTE] == wanted
