// SPDX-License-Identifier: Apache-2.0
//
// The key from which the values of sticky cookies are made, the same for all workers.
//
//   │ ready │ 32 bytes │        a page of its own, left out of core dumps
//
// Who writes: the master alone, once, before a worker gets a configuration that has sticky cookies: from the file in the state
// folder, which it makes if need be (master/sticky_key_file.h). Workers read it when they take a configuration.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace ladle::shm {

struct alignas(4096) StickyKey {
    std::atomic<std::uint32_t> ready; ///< 1 = the bytes are there, and stay
    std::array<std::uint8_t, 32> bytes;
};

} // namespace ladle::shm
