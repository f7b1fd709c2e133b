"""The one exception of our own."""


class InputError(ValueError):
    """Say that what the user gave cannot be used: the rule, what arrived, the remedy.

    The command line shows its message as one line and ends with status 2; any other exception is a fault of ours.
    """
