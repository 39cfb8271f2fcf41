"""What kind of character a character is, by one Unicode table for every Python (the package unicodedata2).

Python's own table changes with Python (3.11 has Unicode 14, 3.13 has 15.1), and a store is a function of its text.
"""

from tokenizers.normalizers import Lowercase
from unicodedata2 import category, name, normalize, unidata_version

__all__ = ["category", "lower", "name", "normalize", "unidata_version"]

lower = Lowercase().normalize_str  # the table of the tokenizers, which do the lowering
