// SPDX-License-Identifier: Apache-2.0
//
// What the loader asks about a certificate and its key, and about OpenSSL's providers. Only the master can answer
// (master/key_files.h, with OpenSSL), when it loads a file or checks one; workers load what it has passed and ask nothing.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace ladle::config {

struct CertificateReport {
    std::string problem; ///< why the two cannot be used; empty = they can
    std::string hint;
    std::string warning; ///< what is wrong with them all the same; may be empty
    std::string warning_hint;
    std::string key_kind;           ///< "RSA", "EC": a site's certificates are all of different ones
    std::vector<std::string> names; ///< host names that it is for, in lower case, "*.example.com" among them
};

/// Both texts are PEM. Without side effects.
using CheckCertificate = CertificateReport (*)(std::string_view chain, std::string_view key);

struct ProvidersReport {
    std::size_t culprit = 0; ///< index of the one that is at fault; their number = all together are
    std::string problem;     ///< empty = there is none
    std::string hint;
};

/// Loads those providers of OpenSSL, so that certificates and keys are checked with them; where one cannot be loaded, none is.
using LoadProviders = ProvidersReport (*)(const std::vector<std::string>& names);

/// Null = is not asked.
struct TlsChecks {
    CheckCertificate certificate = nullptr;
    LoadProviders providers = nullptr;
};

} // namespace ladle::config
