# SPDX-License-Identifier: Apache-2.0
"""Certificates made by openssl(1): a CA of the tests' own, and what it signs."""

import glob
import os
import subprocess


def openssl(*arguments, **more):
    """Runs openssl; its output."""
    return subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, text=True, timeout=60, **more).stdout


KEYS = {"ec": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "rsa": ["-newkey", "rsa:2048"], "ed25519": ["-newkey", "ed25519"],
        "rsa1024": ["-newkey", "rsa:1024"]}


class Authority:
    """A CA in a folder; `pem` is its certificate."""

    def __init__(self, folder, name="Test CA"):
        self.folder = str(folder)
        self.pem = os.path.join(self.folder, f"{name.replace(' ', '-')}.pem")
        self.key = self.pem.replace(".pem", ".key")
        openssl("req", "-x509", *KEYS["ec"], "-nodes", "-keyout", self.key, "-out", self.pem, "-days", "3650", "-subj", f"/CN={name}",
                "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def issue(self, name, names=None, kind="ec", days=90, address=None, extensions=()):
        """A pair (certificate, key) of paths for these host names, and an IP address; `name` is that of the files. With days < 1 it has expired."""
        cert, key = (os.path.join(self.folder, f"{name}.{suffix}") for suffix in ("pem", "key"))
        names = [name] if names is None else names
        alternatives = ",".join([f"DNS:{host}" for host in names] + ([f"IP:{address}"] if address else [])) or "email:nobody@site.test"
        past = {}
        if days < 1:  # openssl makes nothing that has expired, so it is told that it is another day
            past = {"env": {**os.environ, "LD_PRELOAD": glob.glob("/usr/lib/*/faketime/libfaketime.so.1")[0], "FAKETIME": f"{days - 1}d"}}
        openssl("req", "-x509", *KEYS[kind], "-nodes", "-keyout", key, "-out", cert, "-CA", self.pem, "-CAkey", self.key, "-days", max(days, 1),
                "-subj", f"/CN={name}", "-addext", f"subjectAltName={alternatives}", "-addext", "basicConstraints=critical,CA:FALSE",
                *(part for extension in extensions for part in ("-addext", extension)), **past)
        return cert, key


def tls(pair, **more):
    """The value of a site's `tls` for a pair of issue(), or for several."""
    pairs = pair if isinstance(pair, list) else [pair]
    return {"cert": [cert for cert, _ in pairs], "key": [f"file:{key}" for _, key in pairs], **more}
