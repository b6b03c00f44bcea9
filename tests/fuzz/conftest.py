"""Keep these scripts out of the test run: they take long and need encoders from outside."""

collect_ignore_glob = ["*.py"]
