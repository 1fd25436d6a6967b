"""Launching: the processes of a run over MQTT, brought up, watched over, and all gone afterwards.

This package knows brokers, processes and folders. It must not know protocols, views or what a message means.
"""


class LaunchError(Exception):
    """A run over processes could not be done, in one sentence."""
