# SPDX-License-Identifier: Apache-2.0
"""testssl.sh finds nothing in the default configuration that is not explained here. (Debian 12's 3.0 gives no grade; it lists each finding with a severity.)"""

import json
import subprocess

from tests.harness.origin import reply

# id: why it stands although all is well
EXPLAINED = {
    "engine_problem": "about testssl.sh's own openssl, which has no GOST",
    "cipher_order": "the client chooses: all ciphers are good, and it knows which of them its hardware does fast (Mozilla's intermediate recommendation)",
    "cert_revocation": "the tests' CA publishes neither a CRL nor OCSP",
    "DNS_CAArecord": "site.test has no DNS",
    "HSTS": "a site says hsts = \"365d\" itself: browsers do not forget it",
    "security_headers": "what the server's own pages need",
}


def test_testssl_finds_nothing_unexplained(secure, origin, authority, pair, rsa_pair, tmp_path):
    """Protocols, ciphers, curves, certificates, tickets, and each attack by its name."""
    proxy = secure(origin(reply(b"hello")), certificate=[pair, rsa_pair])
    report = tmp_path / "findings.json"
    line = ["testssl", "--color", "0", "--quiet", "--warnings", "off", "--add-ca", authority.pem, "--jsonfile", str(report), "--ip", "127.0.0.1", f"site.test:{proxy.port}"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=500, check=False, cwd=tmp_path)
    findings = json.loads(report.read_text())
    assert len(findings) > 100, done.stdout
    bad = [finding for finding in findings if finding["severity"] not in ("OK", "INFO")]
    assert [finding for finding in bad if finding["id"].split()[0] not in EXPLAINED] == []
    by_id = {finding["id"]: finding["finding"] for finding in findings}
    for version in ("SSLv2", "SSLv3", "TLS1", "TLS1_1"):
        assert by_id[version].startswith("not offered"), by_id[version]
    assert by_id["TLS1_2"] == "offered" and by_id["TLS1_3"].startswith("offered")
    assert by_id["ALPN_HTTP2"] == "h2"
    assert proxy.access_log() and len(proxy.workers()) == 1 and "crash" not in proxy.output()
