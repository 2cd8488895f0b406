"""Software of Debian and npm, without installing anything on this machine.

Packages are fetched with apt-get and npm and unpacked into a cache folder; the lab lays the folders over /usr and /etc in a mount namespace of
its own. So no service starts, no configuration is touched, and Exim and Postfix, which exclude each other, can be had side by side. What is
trusted: the package managers, which check signatures and checksums.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "mx6-peers"

# The lab itself: sink and smtpd, resolver, signer of the proof's messages, ip.
FOR_THE_LAB = ["postfix", "unbound", "python3-dkim", "openssl", "iproute2"]


def debian(*names):
    """Folders, each with the files of one Debian package: these and all they need that this machine does not have installed."""
    folder = CACHE / "debian"
    folder.mkdir(parents=True, exist_ok=True)
    roots = {root_of(folder, name, version): f"{name}={version}" for name, version in remembered(folder, names)}
    fetch([wanted for root, wanted in roots.items() if not root.exists()], folder)
    return list(roots)


def root_of(folder, name, version):
    return folder / f"{name}_{version.replace(':', '%3a')}"


def remembered(folder, names):
    """`missing_of`, asked anew only after something was installed or the lists of packages have changed."""
    state = [os.stat(path).st_mtime_ns for path in ("/var/lib/dpkg/status", "/var/lib/apt/lists")]
    file = folder / ("+".join(names) + ".json")
    if file.exists():
        known = json.loads(file.read_text())
        if known["state"] == state:
            return known["missing"]
    missing = missing_of(names)
    file.write_text(json.dumps({"state": state, "missing": missing}))
    return missing


def missing_of(names):
    """What apt-get would install: (name, version) pairs. A package named here that is installed already needs nothing."""
    simulation = apt(["install", "--simulate", "--no-install-recommends", "--no-upgrade", *names])
    if simulation.returncode != 0:
        print("the lists of packages are old or missing: apt-get update", file=sys.stderr)
        apt(["update", "-q"])
        simulation = apt(["install", "--simulate", "--no-install-recommends", "--no-upgrade", *names])
    if simulation.returncode != 0:
        sys.exit(f"apt-get does not know how to install {' '.join(names)}: {simulation.stderr.strip()}")
    return re.findall(r"^Inst (\S+) (?:\[\S+\] )?\((\S+)", simulation.stdout, re.MULTILINE)


def apt(arguments):
    environment = dict(os.environ, LC_ALL="C", DEBIAN_FRONTEND="noninteractive")
    return subprocess.run(["apt-get", *arguments], capture_output=True, text=True, env=environment)


def fetch(wanted, folder):
    """Downloads packages, NAME=VERSION each, and unpacks each into a folder of its own."""
    if not wanted:
        return
    loading = folder / "loading"
    shutil.rmtree(loading, ignore_errors=True)
    loading.mkdir()
    print(f"fetching {' '.join(wanted)}", file=sys.stderr)
    fetched = subprocess.run(["apt-get", "download", "-q", *wanted], cwd=loading, capture_output=True, text=True)
    if fetched.returncode != 0:
        sys.exit(f"apt-get cannot fetch packages: {fetched.stderr.strip()}")
    for archive in sorted(loading.glob("*.deb")):
        # NAME_VERSION_ARCHITECTURE.deb, the colon of a version written as %3a.
        name, version, _ = archive.stem.rsplit("_", 2)
        unpacked = loading / name
        subprocess.run(["dpkg-deb", "--extract", archive, unpacked], check=True)
        merge_into_usr(unpacked)
        unpacked.rename(folder / f"{name}_{version}")
    shutil.rmtree(loading)


def merge_into_usr(root):
    """Moves /bin, /sbin and /lib below /usr, where the running system has them."""
    for name in ("bin", "sbin", "lib"):
        if (root / name).is_dir():
            shutil.copytree(root / name, root / "usr" / name, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(root / name)


def npm_folder(name, version):
    """Where npm puts a package and its plugins."""
    return CACHE / "npm" / f"{name}-{version}"


def npm(name, version, *plugins):
    """Fetches a package and its plugins, without their optional dependencies."""
    folder = npm_folder(name, version)
    if folder.exists():
        return
    if not shutil.which("npm"):
        sys.exit("npm is missing: apt-get install npm")
    loading = folder.with_suffix(".loading")
    shutil.rmtree(loading, ignore_errors=True)
    loading.mkdir(parents=True)
    print(f"fetching {name} {version} and {', '.join(plugins)}", file=sys.stderr)
    command = ["npm", "install", "--no-audit", "--no-fund", "--omit=optional", f"{name}@{version}", *plugins]
    fetched = subprocess.run(command, cwd=loading, capture_output=True, text=True)
    if fetched.returncode != 0:
        sys.exit(f"npm cannot install {name} {version}: {fetched.stderr.strip()}")
    loading.rename(folder)


def version_of(name):
    """The version of a Debian package: that which is installed, else that which was fetched."""
    shown = subprocess.run(["dpkg-query", "--show", "--showformat=${Version}", name], capture_output=True, text=True)
    if shown.returncode == 0 and shown.stdout:
        return shown.stdout
    fetched = sorted((CACHE / "debian").glob(f"{name}_*"), key=lambda root: root.stat().st_mtime)
    return fetched[-1].name.removeprefix(f"{name}_").replace("%3a", ":") if fetched else "of unknown version"
