"""Settings that studies in tests begin with; what is varied follows."""

HEAD = """
[settings]
workers = ["log_mel"]

[settings.data]
sources = ["corpus/real"]
shares = [1.0]

[budget]
hours = 0.5

[evaluate]
collections = ["drum_machines=here"]
"""
