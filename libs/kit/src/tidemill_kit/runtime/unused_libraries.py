"""A service imports this first: the libraries that others import because they are there, and none of ours uses.

structlog would draw errors by rich, and pycryptodome, which the S3 client's code for administrators brings, call C by
cffi. Both do without: here, as where they are not installed, importing them fails.
"""

import sys

for _name in ("cffi", "pygments", "rich"):
    sys.modules.setdefault(_name, None)  # type: ignore[arg-type] # Python's way to say "not installed"
