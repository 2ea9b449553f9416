// SPDX-License-Identifier: Apache-2.0
//
// A handshake that may stop in its middle: what the private key of its certificate has to do is done by a device (device.h), and
// until that has answered OpenSSL's own frames wait on a stack of their own (ASYNC jobs). One in each TlsStream; single-threaded.
#pragma once

#include "common/loop/loop.h"
#include "worker/net/socket.h"

#include <string_view>

namespace ladle::worker {

struct HandshakeJob {
    loop::Loop& loop;
    Socket& socket;           ///< its news: the handshake can go on
    bool is_given_up = false; ///< the stream goes: whoever waits in the job fails at once
    std::string_view failure; ///< set by whoever fails in it; a constant text

    /// The one that OpenSSL works for at the moment; null = none.
    static inline HandshakeJob* running = nullptr;
};

} // namespace ladle::worker
