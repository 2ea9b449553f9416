// SPDX-License-Identifier: Apache-2.0
//
// What `ladle status` shows of TLS: handshakes by outcome, the certificates that expire first, the library, and whether the kernel
// could encrypt. Master process; owned by it, as the certificates of a configuration are read once and kept.
#pragma once

#include "common/base/json.h"
#include "common/config/config.h"
#include "common/shm/arena.h"

#include <cstddef>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

namespace ladle::master {

/// The certificates of the sites of the configuration in force by when they expire, the first to go in front.
class CertificateBook {
public:
    struct Entry {
        std::time_t expires = 0;
        std::string site;               ///< the first one that has it
        std::string key_kind;           ///< "EC", "RSA"
        std::vector<std::string> names; ///< host names; the first few
        shm::StapleKey staple{};        ///< where the table of staples has its OCSP answer
    };

    /// Reads them, unless `config` is the one it knows; some 50 µs each.
    void follow(const std::shared_ptr<const config::Config>& config);
    const std::vector<Entry>& entries() const { return entries_; }

private:
    std::weak_ptr<const config::Config> of_;
    std::vector<Entry> entries_;
};

/// "tls" of the status; null where no site has TLS.
nlohmann::json tls_to_json(const shm::Regions& regions, const config::Config& config, const CertificateBook& book);

/// The same for people; empty for null.
std::string render_tls(const nlohmann::json& tls);

} // namespace ladle::master
