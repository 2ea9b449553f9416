// SPDX-License-Identifier: Apache-2.0
//
// The certificates of one configuration as OpenSSL needs them: parsed when a client first asks for one, and only so many kept, so
// that thousands cost a worker no more than those in use. Owned by the TlsAcceptor; single-threaded.
#pragma once

#include "common/config/config.h"
#include "worker/tls/device.h"
#include "worker/tls/library.h"

#include <cstddef>
#include <list>
#include <string_view>
#include <unordered_map>

namespace ladle::worker {

struct ParsedCertificate {
    CertificatePtr leaf;
    KeyPtr key;
    ChainPtr issuers; ///< those behind the leaf; null = none
};

struct ParsedChain {
    CertificatePtr leaf; ///< null = the text has none
    ChainPtr issuers;    ///< those behind it; null = none
};
ParsedChain parse_chain(std::string_view text);

/// From the PEM texts, which the master has checked; leaf is null if they are bad all the same. `device` as in CertificateStore.
ParsedCertificate parse_certificate(const config::Certificate& certificate, KeyDevice* device = nullptr);

/// The certificates of a PEM text as those that are believed; null where there is no memory. Their names are added to `names`,
/// unless it is null.
StorePtr parse_authorities(const config::SharedText& text, STACK_OF(X509_NAME) * names);
/// Adds the revocation lists of a PEM text, and has them looked into.
void add_revoked(X509_STORE& store, const config::SharedText& text);

class CertificateStore {
public:
    static constexpr std::size_t kMost = 256;

    /// `device` keeps the keys that are in one, and outlives the store; null = there are none.
    explicit CertificateStore(KeyDevice* device = nullptr) noexcept : device_(device) {}

    /// Null if it cannot be parsed. Good until the next find(). `certificate` is of the configuration that outlives the store.
    const ParsedCertificate* find(const config::Certificate& certificate);
    std::size_t size() const noexcept { return entries_.size(); }

private:
    struct Entry {
        const config::Certificate* of;
        ParsedCertificate parsed;
    };
    KeyDevice* device_;
    std::list<Entry> entries_; ///< the one used last in front
    std::unordered_map<const config::Certificate*, std::list<Entry>::iterator> places_;
};

} // namespace ladle::worker
