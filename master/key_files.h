// SPDX-License-Identifier: Apache-2.0
//
// Whether a site's certificate and private key can be used: looked at by the master when it loads a configuration, and by
// `ladle check`; and what `ladle status` says of them. The files themselves are read by the loader, in the master alone; workers
// get them in the bundle.
#pragma once

#include "common/config/certificate_check.h"

#include <array>
#include <cstdint>
#include <ctime>
#include <string>
#include <string_view>
#include <vector>

namespace ladle::master {

/// See config::CheckCertificate.
config::CertificateReport check_certificate(std::string_view chain, std::string_view key);

/// See config::LoadProviders.
config::ProvidersReport load_providers(const std::vector<std::string>& names);

/// What people are told of a site's own certificate, the first one of the text.
struct CertificateSummary {
    std::array<std::uint8_t, 32> fingerprint{}; ///< SHA-256 of its DER, as shm::StapleKey
    std::time_t expires = 0; ///< 0 = there is none, or its date is none
    std::string key_kind;
    std::vector<std::string> names;
};
CertificateSummary summarise_certificate(std::string_view chain);

/// "OpenSSL 3.0.15 3 Sep 2024": the one that runs, whatever the build saw.
std::string tls_library_version();

} // namespace ladle::master
