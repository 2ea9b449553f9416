// SPDX-License-Identifier: Apache-2.0
#include "worker/cache/disk_forget.h"

#include "common/shm/disk_files.h"
#include "common/shm/purge_log.h"
#include "worker/cache/cache.h"
#include "worker/cache/disk_tier.h"

#include <functional>
#include <memory>
#include <utility>

namespace ladle::worker {

namespace {

constexpr std::chrono::milliseconds kForgetPatience{3'000};

/// Runs it in the pool, and waits for it, but not for ever. Its result; 0 where it goes on without us.
loop::Task<int> call(Request& request, std::function<int()> work)
{
    ClientStream& client = request.client;
    DiskTier& disk = *request.cache->cache.disk();
    DiskCall running(disk.jobs(), client.wake);
    const bool is_begun = running.start(work);
    if (!is_begun) {
        co_return work(); // rather wait for the disk than forget it
    }
    client.alarm.set(kForgetPatience);
    while (!running.is_done() && !client.alarm.rang()) {
        co_await client.wake.wait();
    }
    client.alarm.clear();
    co_return running.is_done() ? running.code() : 0;
}

int unlink_files(int folder, const std::vector<std::uint64_t>& files) noexcept
{
    int code = 0;
    for (const std::uint64_t number : files) {
        const int result = shm::unlink_disk_file(folder, number);
        code = code == 0 ? result : code;
    }
    return code;
}

} // namespace

loop::Task<void> log_purges(Request& request, std::string lines, Durably durably)
{
    DiskTier& disk = *request.cache->cache.disk();
    if (!disk.folder()) {
        co_return;
    }
    std::function<int()> work = [folder = disk.folder(), lines = std::move(lines), durably] {
        return shm::append_purge(folder->get(), lines, durably == Durably::yes);
    };
    const int code = co_await call(request, std::move(work));
    if (code != 0) {
        disk.set_aside(code);
    }
}

loop::Task<void> forget_on_disk(Request& request)
{
    CacheVisit& visit = *request.cache;
    DiskTier& disk = *visit.cache.disk();
    const std::unique_ptr<ForgottenOnDisk> forgotten = std::move(visit.forgotten);
    if (!forgotten->files.empty() && disk.folder()) {
        std::function<int()> work = [folder = disk.folder(), files = forgotten->files] { return unlink_files(folder->get(), files); };
        const int code = co_await call(request, std::move(work));
        if (code != 0) {
            disk.set_aside(code);
            for (const std::string& key : forgotten->keys) {
                forgotten->purge(visit.cache.store().purges(), key);
            }
        }
    }
    if (!forgotten->lines.empty()) {
        co_await log_purges(request, std::move(forgotten->lines), Durably::no);
    }
}

} // namespace ladle::worker
