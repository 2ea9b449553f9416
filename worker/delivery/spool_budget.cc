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
    switch (storage) {
    case Storage::memory: return shm::Metric::spool_memory_bytes;
    case Storage::disk: return shm::Metric::spool_disk_bytes;
    default: return shm::Metric::h2_request_bytes;
    }
}

template <class Row>
auto& cell_of(Row& row, Storage storage, std::uint32_t client_bucket) noexcept
{
    return storage == Storage::requests ? row.client_request_kib[client_bucket] : row.client_spool_kib[client_bucket];
}

/// What a worker may hold beside the budget before each of its requests has to do with little: two thousand of them at rest.
constexpr std::uint64_t kBesideBudget = 32 << 20;

constexpr std::uint64_t kTrifle = 2 * shm::kMaxProcesses; // so small a part of a ceiling

} // namespace

void SpoolBudget::set_limits(const config::Budget& limits) noexcept
{
    limits_ = limits;
    set_plenty(limits.spool_memory_bytes + kBesideBudget);
}

bool SpoolBudget::has_room(Storage storage, std::uint32_t client_bucket, std::uint64_t more) noexcept
{
    const bool is_requests = storage == Storage::requests;
    const std::uint64_t ceiling = storage == Storage::memory ? limits_.spool_memory_bytes
                                  : storage == Storage::disk ? limits_.spool_disk_bytes
                                                             : limits_.requests_bytes;
    const std::uint64_t per_client = is_requests ? limits_.requests_per_client_bytes : limits_.per_client_bytes;
    const auto held_of_client = [&](const shm::ProcessRow& row) -> std::uint32_t {
        return client_bucket == kNoClient ? 0 : cell_of(row, storage, client_bucket).load(std::memory_order_relaxed);
    };
    // Not all rows are looked at for those who hold next to nothing here: should all workers' do so, it is half as much again.
    if (is_requests && row_.value(metric_of(storage)) <= ceiling / kTrifle &&
        held_of_client(row_) <= to_kib(per_client) / kTrifle) {
        return true;
    }
    std::uint64_t all = more;
    std::uint64_t client_kib = to_kib(more);
    for (const shm::ProcessRow& row : regions_.rows) {
        if (row.pid.load(std::memory_order_relaxed) != 0) {
            all += row.value(metric_of(storage));
            client_kib += held_of_client(row);
        }
    }
    return all <= ceiling && (client_bucket == kNoClient || client_kib <= to_kib(per_client));
}

void SpoolBudget::count(Storage storage, std::uint32_t client_bucket, std::uint64_t before, std::uint64_t after) noexcept
{
    if (after > before) {
        row_.add(metric_of(storage), after - before);
    } else {
        row_.subtract(metric_of(storage), before - after);
    }
    if (client_bucket == kNoClient) {
        return;
    }
    auto& cell = cell_of(row_, storage, client_bucket);
    const auto change = static_cast<std::uint32_t>(to_kib(after) - to_kib(before)); // wraps when it shrinks, as it should
    cell.store(cell.load(std::memory_order_relaxed) + change, std::memory_order_relaxed);
}

} // namespace ladle::worker
