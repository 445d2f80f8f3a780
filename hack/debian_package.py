"""A package of Debian's, downloaded and unpacked, not installed."""

import subprocess
from pathlib import Path


def unpack(package, directory):
    """Unpacks it into the directory; its version."""
    sandbox = ["--option", "APT::Sandbox::User=root"]
    subprocess.run(["apt-get", "--quiet", "--quiet", *sandbox, "download", package], cwd=directory, check=True)
    [archive] = Path(directory).glob(f"{package}_*.deb")
    subprocess.run(["dpkg-deb", "--extract", archive, directory], check=True)
    field = ["dpkg-deb", "--field", archive, "Version"]
    return subprocess.run(field, capture_output=True, text=True, check=True).stdout.strip()
