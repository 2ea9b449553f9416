// SPDX-License-Identifier: Apache-2.0
//
// OpenFiles: bodies in files that are being read a lot, so that a hit need not open its file: descriptors on tmpfs in a worker's
// Cache, files of the disk tier, with their headers, in its DiskTier. Numbers are never used twice, so an entry is never wrong; one
// that has not been asked for in the last second is closed. A removed object's file on tmpfs is emptied before it is unlinked, so
// what is open here holds no memory.
#pragma once

#include <cstdint>
#include <iterator>
#include <memory>
#include <unordered_map>
#include <utility>

namespace ladle::worker {

template <typename File>
class OpenFiles {
public:
    /// Keeps at most so many.
    explicit OpenFiles(std::size_t most) noexcept : most_(most) {}

    /// The file, if it is open here.
    std::shared_ptr<const File> find(std::uint64_t number) noexcept
    {
        const auto found = entries_.find(number);
        if (found == entries_.end()) {
            return nullptr;
        }
        found->second.idle_ticks = 0;
        return found->second.file;
    }
    /// Keeps it, if there is room.
    void add(std::uint64_t number, std::shared_ptr<const File> file)
    {
        if (entries_.size() < most_) {
            entries_.insert_or_assign(number, Entry{std::move(file)});
        }
    }
    /// Every 100 ms.
    void on_tick() noexcept
    {
        for (auto at = entries_.begin(); at != entries_.end();) {
            at = ++at->second.idle_ticks > kIdleTicks ? entries_.erase(at) : std::next(at);
        }
    }

private:
    static constexpr std::uint32_t kIdleTicks = 10;
    struct Entry {
        std::shared_ptr<const File> file;
        std::uint32_t idle_ticks = 0;
    };
    std::size_t most_;
    std::unordered_map<std::uint64_t, Entry> entries_;
};

} // namespace ladle::worker
