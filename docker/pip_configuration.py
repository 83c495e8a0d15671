"""Turns what ``pip config list`` prints (on standard input) into a pip.conf for the image's build.

Keeps the settings that mean the same on another machine, which are the package indexes of the network. Paths of this machine
(certificates, directories of wheels, constraints) would point at nothing in a container.
"""

import ast
import sys

KEPT = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout")

print("[global]")
for line in sys.stdin:
    name, separator, text = line.strip().partition("=")
    option = name.rpartition(".")[2]
    if not separator or option not in KEPT:
        continue
    words = [word for word in str(ast.literal_eval(text)).split() if not word.startswith("file:")]
    if words:
        print(f"{option} = {' '.join(words)}")
