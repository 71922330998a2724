"""Models are built one at a time.

While transformers and peft build one, they replace functions of torch for all threads, and put back what they found:
two at once leave a replacement in place for good, and every later model without its weights.
"""

import threading

BUILDING = threading.Lock()
"""Held while a model is made, or modules are added to one."""
