// SPDX-License-Identifier: Apache-2.0
//
// TLS with servers, as one configuration wants it: what is verified, with which CA, and under which name. One for each LiveConfig
// that has such upstreams; what it needs of OpenSSL is made at an upstream's first connect. Borrows the Config. Connections outlive
// it: what they share with it (the session to resume) is counted.
#pragma once

#include "common/config/config.h"
#include "common/loop/loop.h"
#include "common/shm/rows.h"
#include "worker/net/encryption.h"
#include "worker/net/socket.h"
#include "worker/tls/device.h"
#include "worker/tls/library.h"
#include "worker/tls/stream.h"

#include <map>
#include <memory>
#include <string>
#include <unordered_map>

namespace ladle::worker {

class TlsConnector {
public:
    TlsConnector(const config::Tls& settings, shm::ProcessRow& row) noexcept : row_(row), device_(settings.device, row) {}

    /// The encryption of a connection to that server, whose upstream has tls; null where it cannot be had (logged).
    std::unique_ptr<Encryption> connect(loop::Loop& loop, Socket& socket, const config::Upstream& upstream,
                                        const config::UpstreamServer& server);

private:
    SSL_CTX* settings_for(const config::Upstream& upstream);
    SslSettingsPtr make_settings(const config::Upstream& upstream);
    bool set_identity(SSL* ssl, const config::UpstreamTls& tls, const config::UpstreamServer& server);
    X509_STORE* authorities(const config::SharedText& text);

    shm::ProcessRow& row_;
    KeyDevice device_; ///< of our own keys, where servers ask for a certificate
    std::map<const char*, StorePtr> stores_;                                ///< by where the PEM text lies
    std::unordered_map<const config::Upstream*, SslSettingsPtr> settings_; ///< null = it failed before
    std::unordered_map<const config::UpstreamServer*, std::shared_ptr<TlsSession>> sessions_;
};

} // namespace ladle::worker
