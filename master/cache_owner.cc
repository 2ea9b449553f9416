// SPDX-License-Identifier: Apache-2.0
#include "master/cache_owner.h"

#include "common/os/log.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace ladle::master {

namespace {

/// `seed`: of the disk tier, so that both tiers call things alike; 0 = any.
shm::CacheOptions options_of(const config::Cache& cache, std::uint64_t seed = 0)
{
    return {cache.memory_bytes, 0, seed};
}

constexpr std::string_view kAuto = "auto";        // [cache] files
constexpr const char* kSharedFolder = "/dev/shm"; // then, where nothing can be mounted

std::string parent_of(const config::Cache& cache)
{
    return cache.files == kAuto ? kSharedFolder : cache.files;
}

bool lies_where_it_should(const CacheFolder& folder, const config::Cache& cache)
{
    return folder.parent() == parent_of(cache) || (folder.path().empty() && cache.files == kAuto);
}

/// One for each row; fails where descriptors are short.
Result<std::vector<os::Fd>> make_bells()
{
    std::vector<os::Fd> bells;
    for (std::uint32_t row = 0; row < shm::kMaxProcesses; ++row) {
        bells.emplace_back(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
        if (!bells.back()) {
            return fail_errno("cannot make an eventfd", errno);
        }
    }
    return bells;
}

} // namespace

void CacheOwner::make(const config::Cache& cache, const Identity& identity)
{
    identity_ = identity;
    files_ = parent_of(cache);
    if (cache.memory_bytes == 0) {
        return disk_.leave_off(cache.disk);
    }
    disk_.open(cache.disk, identity);
    auto arena = shm::CacheArena::make(options_of(cache, disk_.seed()));
    auto bells = make_bells();
    if (!arena || !bells) {
        os::log(os::Level::error, "no cache", {{"reason", arena ? bells.error().detail : arena.error().detail}});
        disk_.give_up();
        return;
    }
    arena_ = std::make_unique<shm::CacheArena>(std::move(*arena));
    bells_ = std::move(*bells);
    make_folder(cache);
}

void CacheOwner::make_folder(const config::Cache& cache)
{
    remove_unused_folders();
    if (cache.files == kAuto) {
        if (auto mounted = CacheFolder::mount(cache.memory_bytes + cache.memory_bytes / 4, identity_.uid, identity_.gid)) {
            folder_ = std::move(*mounted); // its size is a bound behind that of the store
            return;
        }
    }
    auto folder = CacheFolder::make(files_, identity_.uid, identity_.gid);
    if (!folder) {
        os::log(os::Level::warning, "no folder for the cache's larger bodies: they are not kept",
                {{"cache.files", files_}, {"reason", folder.error().detail}});
        return;
    }
    folder_ = std::move(*folder);
}

bool CacheOwner::adopt(const HandedCache& handed, const config::Cache& cache, const Identity& identity)
{
    CacheFolder folder;
    std::vector<os::Fd> bells;
    os::Fd fd(handed.arena);
    if (handed.files >= 0) {
        folder = CacheFolder::adopt(handed.folder, os::Fd(handed.files));
    }
    std::transform(handed.bells.begin(), handed.bells.end(), std::back_inserter(bells), [](int bell) { return os::Fd(bell); });
    std::string reason;
    if (!fd || cache.memory_bytes == 0) {
        reason = "none is wanted, or there was none";
    } else if (bells.size() != shm::kMaxProcesses || (folder && !lies_where_it_should(folder, cache))) {
        reason = "its files lie elsewhere";
    } else if (auto arena = shm::CacheArena::adopt(std::move(fd)); !arena) {
        reason = arena.error().detail;
    } else if (!arena->is_made_with(options_of(cache))) {
        reason = "it has another size";
    } else {
        arena_ = std::make_unique<shm::CacheArena>(std::move(*arena));
    }
    if (!disk_.adopt(handed.disk, cache.disk, arena_ ? arena_->seed() : 0)) {
        disk_.give_up(); // without this memory's purges nothing there is to be believed
    }
    if (!arena_) {
        folder.leave(); // old workers may still read there
        os::log(os::Level::info, "the cache begins anew", {{"reason", reason}});
        make(cache, identity);
        return false;
    }
    identity_ = identity;
    files_ = parent_of(cache);
    folder_ = std::move(folder);
    bells_ = std::move(bells);
    if (!folder_) {
        make_folder(cache);
    }
    return true;
}

void CacheOwner::use_row(int row)
{
    row_ = row;
    if (!arena_ || row < 0) {
        return;
    }
    store_ = std::make_unique<shm::CacheStore>(*arena_, static_cast<std::uint32_t>(row));
    disk_.use_row(row, store_->purges());
    repair(row); // the image before had it, perhaps
}

void CacheOwner::lend(ipc::Inheritance& inheritance) const
{
    if (!arena_) {
        return;
    }
    inheritance.cache = arena_.get();
    inheritance.cache_files = os::Fd(folder_.fd());
    disk_.lend(inheritance);
    for (const os::Fd& bell : bells_) {
        inheritance.cache_bells.emplace_back(bell.get());
    }
}

HandedCache CacheOwner::hand_over() const
{
    HandedCache handed;
    if (!arena_) {
        return handed;
    }
    handed.arena = arena_->fd();
    handed.row = row_;
    handed.files = folder_.fd();
    handed.folder = folder_.path();
    handed.disk = disk_.hand_over();
    for (const os::Fd& bell : bells_) {
        handed.bells.push_back(bell.get());
    }
    return handed;
}

void CacheOwner::repair(int row)
{
    if (!store_ || row < 0) {
        return;
    }
    disk_.repair(row);
    const std::uint64_t wake = store_->repair(static_cast<std::uint32_t>(row));
    for (std::uint32_t other = 0; other < bells_.size(); ++other) {
        if ((wake >> other & 1) != 0) {
            ::eventfd_write(bells_[other].get(), 1);
        }
    }
}

void CacheOwner::tend_disk()
{
    if (store_) {
        disk_.tend(store_->purges());
    }
}

void CacheOwner::close()
{
    if (store_) {
        disk_.save(store_->purges());
    }
    folder_.remove();
}

void CacheOwner::remove_unused_folders() const
{
    if (files_.empty()) {
        return;
    }
    if (const int removed = remove_unused(files_, identity_.uid); removed > 0) {
        os::log(os::Level::info, "removed what a cache before left", {{"cache.files", files_}, {"folders", removed}});
    }
}

} // namespace ladle::master
