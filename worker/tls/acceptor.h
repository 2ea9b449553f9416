// SPDX-License-Identifier: Apache-2.0
//
// TLS with clients, as one configuration wants it: which certificates and versions a client is offered, by the name that it asks
// for (SNI). One for each LiveConfig that listens with TLS; borrows the Config and its Router. A handshake keeps its LiveConfig;
// afterwards a connection needs nothing of this.
#pragma once

#include "common/base/error.h"
#include "common/config/config.h"
#include "common/loop/loop.h"
#include "common/shm/arena.h"
#include "worker/net/encryption.h"
#include "worker/net/socket.h"
#include "worker/route/router.h"
#include "worker/tls/certificates.h"
#include "worker/tls/library.h"

#include <cstdint>
#include <map>
#include <memory>
#include <string_view>
#include <vector>

namespace ladle::worker {

class TlsAcceptor {
public:
    static Result<std::unique_ptr<TlsAcceptor>> make(const config::Config& config, const Router& router,
                                                     shm::Regions& regions, shm::ProcessRow& row);

    /// The encryption of a connection that came in on that Listen; null where there is no memory.
    std::unique_ptr<Encryption> accept(loop::Loop& loop, Socket& socket, std::uint32_t listen);

    /// The site whose certificates a client gets that asks for this name (any case; empty = none) there: the most specific one with
    /// TLS, else the first in the file. Null = no site there has TLS.
    const config::Site* find_site(std::uint32_t listen, std::string_view name) const;

private:
    TlsAcceptor(const config::Config& config, const Router& router, SslSettingsPtr settings, shm::Regions& regions,
                shm::ProcessRow& row);
    static int on_early_data(SSL* ssl, void* self);
    static int on_status_request(SSL* ssl, void* self);
    static int on_client_hello(SSL* ssl, int* alert, void* self);
    static int on_protocols(SSL* ssl, const unsigned char** chosen, unsigned char* length, const unsigned char* offered,
                            unsigned size, void* self);
    bool present(SSL* ssl, const config::SiteTls& site);
    bool demand(SSL* ssl, const config::ClientCertificates* client);

    /// What clients' certificates are checked with.
    struct Authorities {
        StorePtr store;
        NamesPtr names;
    };
    const Authorities& authorities(const config::ClientCertificates& client);

    const config::Config& config_;
    const Router& router_;
    SslSettingsPtr settings_;
    shm::Regions& regions_;
    shm::ProcessRow& row_;
    KeyDevice device_;
    bool takes_early_data_ = false; ///< for some site
    CertificateStore certificates_{&device_};
    std::map<std::string_view, Authorities> authorities_; ///< by fingerprint
    std::vector<const config::Site*> fallbacks_; ///< by index of the Listen
};

} // namespace ladle::worker
