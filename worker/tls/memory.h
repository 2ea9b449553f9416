// SPDX-License-Identifier: Apache-2.0
//
// OpenSSL's SSL objects as memory that rests (net/resting.h): each takes 7.6 KiB, of which more than 6 are zeros. Only the SSL
// itself lies in a slot, as nothing but its connection points to it; its ciphers, certificates and session stay with malloc. In the
// worker.
#pragma once

#include "worker/net/resting.h"
#include "worker/tls/library.h"

#include <utility>

namespace ladle::worker {

/// Has OpenSSL ask us for its memory: at the start of the process, before it has any. False: it is too late, and nothing rests.
bool use_slots_for_tls() noexcept;

/// Null where there is no memory.
SslPtr make_ssl(SSL_CTX& settings) noexcept;

/// An SSL that can rest.
class RestingSsl {
public:
    explicit RestingSsl(SslPtr ssl) noexcept;

    /// Awake.
    SSL* get() noexcept
    {
        memory_.use();
        return ssl_.get();
    }
    /// The handshake is over, and no job holds a part of it.
    void may_rest() noexcept { memory_.may_rest(); }
    bool is_resting() const noexcept { return memory_.is_resting(); }

private:
    SslPtr ssl_;
    Resting memory_; ///< behind the SSL: wakes before that goes
};

} // namespace ladle::worker
