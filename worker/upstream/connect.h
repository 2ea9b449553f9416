// SPDX-License-Identifier: Apache-2.0
//
// The step "connect": a connection to the chosen server, a kept one or a new one.
#pragma once

#include "common/loop/task.h"
#include "worker/request/request.h"
#include "worker/upstream/server_connection.h"
#include "worker/upstream/turn.h"

#include <memory>
#include <optional>
#include <string>

namespace ladle::worker {

/// Of HTTP/1: a kept connection may have been closed by its server just now.
enum class Freshness : std::uint8_t { kept_or_fresh, fresh };

/// Who a failed connect is to be blamed on: where we have no descriptor, port or memory left, no server is.
enum class Fault : std::uint8_t { theirs, ours };

struct Connected {
    std::optional<Answer> failed;
    std::string detail; ///< of a failure, for the log
    Fault at_fault = Fault::theirs;
};

/// Sets turn.stream.
loop::Task<Connected> connect(Request& request, Turn& turn, Freshness freshness);

/// Connects to the chosen server, with TLS where its upstream has it. Tries the addresses of a name one after the other (three at
/// the most), each for the connect timeout.
loop::Task<Connected> open_connection(Request& request, Turn& turn, std::unique_ptr<ServerConnection>& made);

/// Whether what the connection is connected to is still an address of the server's name.
bool is_still_of(const Member& member, ServerConnection& connection);

} // namespace ladle::worker
