"""What every peer has in common."""

import packages


class Peer:
    """One mail server. A script fills in what it is and how it starts."""

    # As the table calls it, and the same in a file name.
    name = slug = ""
    # Which of ptr, spf and dkim it checks.
    checks = {"ptr", "spf", "dkim"}
    # Whether it refuses a message of which neither SPF nor DKIM passes; else it only says so in the header section.
    refuses_neither = False
    # Debian packages it is made of.
    debian = []
    # Whether it hands mail to the next hop.
    relays = True

    def install(self):
        """Fetches its software; outside of the lab, where there is a network. Gives the folders that the lab lays over /usr and /etc."""
        return packages.debian(*self.debian) if self.debian else []

    def versions(self):
        """What was fetched, in words; after `install`."""
        return ", ".join(f"{name} {packages.version_of(name)}" for name in self.debian)

    def start(self, lab, group, folder):
        """Starts it in the group, listening on PORT of ::1 and relaying to NEXT_HOP; its files are below `folder`, on the disk."""
        raise NotImplementedError

    def is_idle(self):
        """Whether nothing is left in its queue; one that relays within the transaction has none."""
        return True
