// SPDX-License-Identifier: Apache-2.0
//
// OpenSSL's providers ([tls] providers) in a worker and in the caretaker. The master has loaded them when it read the
// configuration, so that whoever is forked after that has them; these here are for a reload, which may bring more.
#pragma once

#include "common/base/error.h"

#include <string>
#include <vector>

namespace ladle::worker {

/// Loads those that this process has not. They stay: what is in use of one, nobody knows.
Result<void> use_providers(const std::vector<std::string>& names);

} // namespace ladle::worker
