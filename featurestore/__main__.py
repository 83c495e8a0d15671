"""``python -m featurestore``: the command, where its script is not on the path."""

from featurestore.cli.main import main

main()
