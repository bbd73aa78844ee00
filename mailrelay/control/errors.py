"""What may go wrong when something is asked of the server; messages are for people."""


class Refusal(Exception):
    """What was asked cannot be done; the message says why and what to do."""


class NoSuch(Refusal):
    """The thing named does not exist; the message says which."""


class AlreadyThere(Refusal):
    """A thing of that name exists."""


class InUse(Refusal):
    """It cannot be removed while something else needs it; the message says what."""
