// SPDX-License-Identifier: Apache-2.0
//
// Whether a site's certificate and private key can be used: looked at by the master when it loads a configuration, and by
// `ladle check`. The files themselves are read by the loader, in the master alone; workers get them in the bundle.
#pragma once

#include "common/config/certificate_check.h"

namespace ladle::master {

/// See config::CheckCertificate.
config::CertificateReport check_certificate(std::string_view chain, std::string_view key);

} // namespace ladle::master
