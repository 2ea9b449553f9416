// SPDX-License-Identifier: Apache-2.0
//
// The one way from TOML to a Config: for `ladle check`, for the master, and for every worker (from the bundle). Reads the files,
// checks every key against the settings table, resolves names, fills in defaults and inheritance. No side effects: no socket, no
// DNS, no need to be root. Never throws, never stops at the first mistake.
#pragma once

#include "common/config/certificate_check.h"
#include "common/config/config.h"
#include "common/config/diagnostic.h"
#include "common/config/file_source.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace ladle::config {

struct LoadResult {
    std::shared_ptr<const Config> config; ///< null if there is any error
    std::vector<Diagnostic> diagnostics;  ///< errors and warnings, in file order
};

/// Loads the file `path` and all that it includes and refers to from `files`. What OpenSSL has to say is asked by `checks`.
LoadResult load(FileSource& files, const std::string& path, std::uint64_t generation = 0,
                TlsChecks checks = {});

} // namespace ladle::config
