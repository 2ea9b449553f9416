# SPDX-License-Identifier: Apache-2.0
"""A SoftHSM2 token: a device that keeps private keys, as far as whoever speaks PKCS#11 can tell."""

import glob
import os
import shutil
import subprocess
import tempfile

MODULE = (glob.glob("/usr/lib/softhsm/libsofthsm2.so") + glob.glob("/usr/lib/*/softhsm/libsofthsm2.so") + [""])[0]


class Token:
    """Belongs to the user that Ladle's workers become. Processes find it by the environment variable SOFTHSM2_CONF, which is `conf`."""

    PIN = "834-pin-271"

    def __init__(self, label="ladle"):
        self.label = label
        self.dir = tempfile.mkdtemp(prefix="ladle-token-")
        self.tokens = os.path.join(self.dir, "tokens")
        self.conf = os.path.join(self.dir, "softhsm2.conf")
        os.mkdir(self.tokens)
        with open(self.conf, "w", encoding="ascii") as out:
            out.write(f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
        self._run("--init-token", "--free", "--so-pin", "5678")

    def _run(self, *arguments):
        subprocess.run(["softhsm2-util", *arguments, "--pin", self.PIN, *(["--label", self.label] if "--init-token" in arguments else ["--token", self.label])],
                       check=True, capture_output=True, timeout=30, env={**os.environ, "SOFTHSM2_CONF": self.conf})
        self._give_away()

    def _give_away(self):
        for folder, _, files in os.walk(self.dir):
            for path in (folder, *(os.path.join(folder, file) for file in files)):
                if os.geteuid() == 0:
                    shutil.chown(path, "nobody", "nogroup")
                os.chmod(path, 0o755 if os.path.isdir(path) else 0o644)

    def take(self, key, label, number):
        """Puts a private key (a PEM file) into the token; its URI."""
        self._run("--import", key, "--label", label, "--id", number)
        return f"pkcs11:token={self.label};object={label};type=private"

    def hide(self):
        """The device is pulled out."""
        os.rename(self.tokens, self.tokens + ".away")

    def show(self):
        os.rename(self.tokens + ".away", self.tokens)

    def stop(self):
        shutil.rmtree(self.dir, ignore_errors=True)
