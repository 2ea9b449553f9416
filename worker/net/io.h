// SPDX-License-Identifier: Apache-2.0
//
// How a read or a write ended: the words that a Socket and what lies below or above it share.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ladle::worker {

/// Whether more is written at once behind something: then a short packet waits for it.
enum class Follows : std::uint8_t { nothing, more };

enum class IoState : std::uint8_t { done, would_block, end, failed };

struct Io {
    IoState state;
    std::size_t bytes; ///< moved, with `done`
    int code;          ///< errno, with `failed`
};

} // namespace ladle::worker
