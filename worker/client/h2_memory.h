// SPDX-License-Identifier: Apache-2.0
//
// The memory of one nghttp2 session. What it makes at its beginning (itself, tables, room for a frame: 25 KiB, nearly all zeros)
// lies in a slot that rests (net/resting.h); what it makes later, for streams and header tables, comes from malloc. Owned by the
// H2Connection; outlives the session.
#pragma once

#include "worker/net/resting.h"

#include <nghttp2/nghttp2.h>

#include <cstddef>

namespace ladle::worker {

class H2Memory {
public:
    H2Memory() noexcept;
    ~H2Memory();
    H2Memory(const H2Memory&) = delete;
    H2Memory& operator=(const H2Memory&) = delete;

    /// What the session is made with; this has to stay where it is.
    nghttp2_mem functions() noexcept;
    /// The session is made: from now on it may rest.
    void may_rest() noexcept
    {
        is_filling_ = false;
        memory_.may_rest();
    }
    /// Before each use of the session.
    void use() noexcept { memory_.use(); }

private:
    void* take(std::size_t size) noexcept;
    static void* on_malloc(std::size_t size, void* self);
    static void on_free(void* at, void* self);
    static void* on_calloc(std::size_t count, std::size_t size, void* self);
    static void* on_realloc(void* at, std::size_t size, void* self);

    char* slot_; ///< null = there is none
    std::size_t used_ = 0;
    bool is_filling_ = true;
    Resting memory_;
};

} // namespace ladle::worker
