// SPDX-License-Identifier: Apache-2.0
//
// OpenFiles: descriptors of the larger bodies that are being read a lot, so that a hit need not open its file. One per worker's Cache.
// Numbers are never used twice, so an entry is never wrong; one that has not been asked for in the last second is closed. A removed
// object's file is emptied before it is unlinked, so what is open here holds no memory.
#pragma once

#include "common/os/fd.h"

#include <cstdint>
#include <memory>
#include <unordered_map>

namespace ladle::worker {

class OpenFiles {
public:
    static constexpr std::size_t kMost = 256;

    /// The file's descriptor, if it is open here.
    std::shared_ptr<const os::Fd> find(std::uint64_t number) noexcept;
    /// Keeps it, if there is room.
    void add(std::uint64_t number, std::shared_ptr<const os::Fd> file);
    /// Every 100 ms.
    void on_tick() noexcept;

private:
    struct Entry {
        std::shared_ptr<const os::Fd> file;
        std::uint32_t idle_ticks = 0;
    };
    std::unordered_map<std::uint64_t, Entry> entries_;
};

} // namespace ladle::worker
