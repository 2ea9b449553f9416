// SPDX-License-Identifier: Apache-2.0
//
// The step "connect": a connection to the chosen server, a kept one or a new one.
#pragma once

#include "common/loop/task.h"
#include "worker/request/request.h"
#include "worker/upstream/turn.h"

#include <optional>
#include <string>

namespace ladle::worker {

enum class Freshness : std::uint8_t { kept_or_fresh, fresh };

struct Connected {
    std::optional<Answer> failed;
    std::string detail; ///< of a failure, for the log
};

/// Sets turn.connection. Tries the addresses of a name one after the other (three at the most), each for the connect timeout.
loop::Task<Connected> connect(Request& request, Turn& turn, Freshness freshness);

} // namespace ladle::worker
