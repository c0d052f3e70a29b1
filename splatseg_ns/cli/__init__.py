"""``splatseg``: one module per command, loaded when it is called."""

from splatseg_ns.cli.entry import main as main
