"""Five messages that show whether a peer really checks reverse DNS, SPF and DKIM.

Each differs from another in one fact. What the peer saw is read from its reply, and from the Authentication-Results fields (RFC 8601) of what
reached the next hop. A peer that claims a check and does not show both results of it fails the proof, and is not measured.
"""

import email
import email.policy
import re
import smtplib
import socket
import subprocess
import sys

from lab import HOSTNAME, PORT, PROOF_DOMAIN, SERVED, until

SELECTOR = "proof"

# Reverse DNS and SPF; reverse DNS alone; SPF alone.
MAIL, RELAY, NAMELESS = "2001:db8:ffff::1", "2001:db8:ffff::2", "2001:db8:ffff::dead"

# What is sent: name, source, whether the signature holds. What must be seen: spf, dkim.
MESSAGES = [
    ("SPF and DKIM pass", MAIL, True, "pass", "pass"),
    ("only SPF passes", MAIL, False, "pass", "fail"),
    ("only DKIM passes", RELAY, True, "fail", "pass"),
    ("neither passes", RELAY, False, "fail", "fail"),
    ("no reverse DNS", NAMELESS, True, None, None),
]


class Signer:
    """An RSA-2048 key, the zones that publish it, and signed messages."""

    def __init__(self, folder):
        self.key = folder / "proof.pem"
        subprocess.run(["openssl", "genrsa", "-traditional", "-out", self.key, "2048"], check=True, capture_output=True)
        shown = subprocess.run(["openssl", "rsa", "-in", self.key, "-pubout"], check=True, capture_output=True, text=True)
        self.public = "".join(shown.stdout.strip().splitlines()[1:-1])

    def zones(self):
        """Origin and text of each zone."""
        record = f"v=DKIM1; k=rsa; p={self.public}"
        strings = " ".join(f'"{record[at:at + 200]}"' for at in range(0, len(record), 200))
        head = "$TTL 3600\n@ SOA ns.proof.example. hostmaster.proof.example. 1 3600 600 86400 300\n@ NS ns.proof.example.\n"
        forward = (
            f"sender TXT \"v=spf1 ip6:{MAIL} ip6:{NAMELESS} -all\"\n_dmarc.sender TXT \"v=DMARC1; p=none\"\n"
            f"sender MX 10 mail.sender\nmail.sender AAAA {MAIL}\nrelay.sender AAAA {RELAY}\n{SELECTOR}._domainkey.sender TXT {strings}\n"
        )
        reverse = f"{reverse_label(MAIL)} PTR mail.{PROOF_DOMAIN}.\n{reverse_label(RELAY)} PTR relay.{PROOF_DOMAIN}.\n"
        return {"proof.example": head + forward, REVERSE_ORIGIN: head + reverse}

    def message(self, subject, holds):
        """A signed message; one whose signature does not hold was changed on its way."""
        import dkim  # Debian's python3-dkim, which is there once the lab has been laid out

        text = (
            f"From: Alice <alice@{PROOF_DOMAIN}>\r\nTo: bob@{SERVED[0]}\r\nSubject: {subject}\r\n"
            f"Date: Mon, 03 Aug 2026 10:00:00 +0000\r\nMessage-ID: <{subject}@{PROOF_DOMAIN}>\r\n\r\nThe lot is 5.\r\n"
        ).encode()
        names = [b"from", b"to", b"subject", b"date", b"message-id"]
        signature = dkim.sign(text, SELECTOR.encode(), PROOF_DOMAIN.encode(), self.key.read_bytes(), include_headers=names)
        return signature + (text if holds else text.replace(b"lot is 5", b"lot is 6"))


REVERSE_ORIGIN = "f.f.f.f.8.b.d.0.1.0.0.2.ip6.arpa"


def reverse_label(address):
    """The name of an address of the proof below its zone."""
    nibbles = socket.inet_pton(socket.AF_INET6, address).hex()[12:]
    return ".".join(reversed(nibbles))


def prove(peer, signer, captured):
    """Sends the five messages and compares. Gives one line for each: its name, and what the peer made of it."""
    lines, wrong = [], []
    for number, (name, source, holds, spf, dkim) in enumerate(MESSAGES):
        subject = f"proof-{peer.slug}-{number}"
        reply = send(source, signer.message(subject, holds))
        refused = not reply.startswith("250 ")
        seen = {} if refused else results_of(captured, subject)
        lines.append((name, f"`{reply}`" if refused else "relayed; " + (", ".join(f"{k}={v}" for k, v in seen.items()) or "no results")))
        expected = expectation(peer, name, spf, dkim)
        if refused != (expected is None) or (not refused and any(seen.get(k) != v for k, v in expected.items())):
            wrong.append(f"{name}: expected {'a refusal' if expected is None else expected}, got {lines[-1][1]}")
    if wrong:
        sys.exit(f"{peer.name} does not check what it shall check:\n  " + "\n  ".join(wrong))
    return lines


def expectation(peer, name, spf, dkim):
    """The results that must stand in the relayed message, or None for a refusal."""
    if name == "no reverse DNS":
        return None if "ptr" in peer.checks else {}
    if name == "neither passes" and peer.refuses_neither:
        return None
    return {key: value for key, value in (("spf", spf), ("dkim", dkim)) if key in peer.checks}


def send(source, message):
    """The reply that decided, on one line."""
    try:
        client = smtplib.SMTP("::1", PORT, f"mail.{PROOF_DOMAIN}", timeout=60, source_address=(source, 0))
        client.ehlo()
        code, text = client.mail(f"alice@{PROOF_DOMAIN}")
        if code == 250:
            code, text = client.rcpt(f"bob@{SERVED[0]}")
        if code == 250:
            code, text = client.data(message)
        client.close()
    except smtplib.SMTPResponseException as error:
        code, text = error.smtp_code, error.smtp_error
    return f"{code} {text.decode(errors='replace')}".replace("\n", " ")


def results_of(captured, subject):
    """SPF and DKIM results that stand in the message as the next hop got it."""
    found = []
    until(f"the next hop to get {subject}", lambda: found.extend(file for file in captured.iterdir() if contains(file, subject)) or found)
    return authentication_results(found[0])


def contains(file, subject):
    return f"\nSubject: {subject}\n" in file.read_text(errors="replace")


def authentication_results(file):
    """Results by method, of the fields of our host."""
    # smtp-sink writes envelope fields of its own and a Received field in front; all of it is one header section.
    message = email.message_from_bytes(file.read_bytes(), policy=email.policy.compat32)
    fields = [" ".join(field.split()) for field in message.get_all("Authentication-Results", [])]
    ours = [field for field in fields if field.startswith(HOSTNAME)]
    return dict(re.findall(r"\b(spf|dkim|iprev|dmarc)=([a-z]+)", " ; ".join(ours)))
