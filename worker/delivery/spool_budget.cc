// SPDX-License-Identifier: Apache-2.0
#include "worker/delivery/spool_budget.h"

#include "worker/net/blocks.h"

namespace ladle::worker {

namespace {

constexpr std::uint64_t to_kib(std::uint64_t bytes) noexcept
{
    return (bytes + 1023) / 1024;
}

shm::Metric metric_of(Storage storage) noexcept
{
    return storage == Storage::memory ? shm::Metric::spool_memory_bytes : shm::Metric::spool_disk_bytes;
}

/// What a worker may hold beside the budget before each of its requests has to do with little: two thousand of them at rest.
constexpr std::uint64_t kBesideBudget = 32 << 20;

} // namespace

void SpoolBudget::set_limits(const config::Budget& limits) noexcept
{
    limits_ = limits;
    set_plenty(limits.spool_memory_bytes + kBesideBudget);
}

bool SpoolBudget::has_room(Storage storage, std::uint32_t client_bucket, std::uint64_t more) noexcept
{
    const std::uint64_t ceiling = storage == Storage::memory ? limits_.spool_memory_bytes : limits_.spool_disk_bytes;
    std::uint64_t all = more;
    std::uint64_t client_kib = to_kib(more);
    for (const shm::ProcessRow& row : regions_.rows) {
        if (row.pid.load(std::memory_order_relaxed) != 0) {
            all += row.value(metric_of(storage));
            client_kib += row.client_spool_kib[client_bucket].load(std::memory_order_relaxed);
        }
    }
    return all <= ceiling && client_kib <= to_kib(limits_.per_client_bytes);
}

void SpoolBudget::count(Storage storage, std::uint32_t client_bucket, std::uint64_t before, std::uint64_t after) noexcept
{
    if (after > before) {
        row_.add(metric_of(storage), after - before);
    } else {
        row_.subtract(metric_of(storage), before - after);
    }
    auto& cell = row_.client_spool_kib[client_bucket];
    const auto change = static_cast<std::uint32_t>(to_kib(after) - to_kib(before)); // wraps when it shrinks, as it should
    cell.store(cell.load(std::memory_order_relaxed) + change, std::memory_order_relaxed);
}

} // namespace ladle::worker
