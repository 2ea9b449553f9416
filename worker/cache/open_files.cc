// SPDX-License-Identifier: Apache-2.0
#include "worker/cache/open_files.h"

#include <iterator>

namespace ladle::worker {

namespace {

constexpr std::uint32_t kIdleTicks = 10;

} // namespace

std::shared_ptr<const os::Fd> OpenFiles::find(std::uint64_t number) noexcept
{
    const auto found = entries_.find(number);
    if (found == entries_.end()) {
        return nullptr;
    }
    found->second.idle_ticks = 0;
    return found->second.file;
}

void OpenFiles::add(std::uint64_t number, std::shared_ptr<const os::Fd> file)
{
    if (entries_.size() < kMost) {
        entries_.emplace(number, Entry{std::move(file)});
    }
}

void OpenFiles::on_tick() noexcept
{
    for (auto at = entries_.begin(); at != entries_.end();) {
        at = ++at->second.idle_ticks > kIdleTicks ? entries_.erase(at) : std::next(at);
    }
}

} // namespace ladle::worker
