// SPDX-License-Identifier: Apache-2.0
#include "master/disk_owner.h"

#include "common/os/log.h"
#include "common/shm/cache_snapshot.h"
#include "common/shm/disk_files.h"
#include "common/shm/purge_log.h"
#include "master/acting_as.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <ctime>
#include <thread>
#include <tuple>
#include <utility>

namespace ladle::master {

namespace {

constexpr std::uint64_t kBytesPerObject = std::uint64_t{16} << 10; ///< of a file on average; the index may be full first
constexpr std::uint64_t kIndexBytesPerObject = 256;
constexpr std::uint64_t kLeastIndexBytes = std::uint64_t{16} << 20;
constexpr std::uint64_t kMostIndexBytes = std::uint64_t{64} << 30;
constexpr std::uint64_t kNumbersPerLife = std::uint64_t{1} << 32;
constexpr std::chrono::milliseconds kLockPatience{2'000};
constexpr std::chrono::milliseconds kLockStep{20};
constexpr std::uint64_t kMostLogBytes = std::uint64_t{16} << 20;
constexpr loop::Nanos kBaseRetry = 10'000'000'000;
constexpr const char* kCleanName = "clean";

shm::CacheOptions disk_options(std::uint64_t disk_bytes, std::uint64_t seed)
{
    return {index_bytes(disk_bytes), disk_bytes, seed};
}

const char* index_name(std::uint64_t generation) noexcept
{
    return generation % 2 == 0 ? "index.A" : "index.B";
}

/// What "clean" says: the generation of the index that counts, and a hash of that.
std::string make_clean(std::uint64_t generation)
{
    const std::string text = fmt::format("ladle index {} ", generation);
    return text + fmt::format("{:016x}\n", XXH3_64bits(text.data(), text.size()));
}

/// 0 = it says nothing.
std::uint64_t parse_clean(std::string_view text)
{
    std::uint64_t generation = 0;
    constexpr std::string_view kBegin = "ladle index ";
    if (text.starts_with(kBegin)) {
        std::from_chars(text.data() + kBegin.size(), text.data() + text.size(), generation);
    }
    return generation != 0 && make_clean(generation) == text ? generation : 0;
}

/// Written in front of an index, so that "clean" cannot name another one.
struct IndexMark {
    std::uint64_t magic;
    std::uint64_t generation;
};
constexpr std::uint64_t kIndexMagic = 0x6c61646c69647831; // "ladlidx1"

int save_index(int folder, std::uint64_t generation, const shm::CacheArena& arena)
{
    const std::string fresh = std::string(index_name(generation)) + ".new";
    const os::Fd file(::openat(folder, fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
    const IndexMark mark{kIndexMagic, generation};
    if (!file || ::write(file.get(), &mark, sizeof mark) != sizeof mark) {
        return errno;
    }
    if (auto saved = shm::save_cache(arena, file.get()); !saved) {
        const int code = saved.error().code;
        ::unlinkat(folder, fresh.c_str(), 0);
        return code != 0 ? code : EIO;
    }
    if (::fsync(file.get()) != 0 || ::renameat(folder, fresh.c_str(), folder, index_name(generation)) != 0) {
        return errno;
    }
    return 0;
}

/// What was purged, as a table's text; nothing where the folder does not say it whole.
std::string restore_purges(int folder, const shm::PurgeBase& base)
{
    auto arena = shm::CacheArena::make({shm::kMinCacheBytes, 0, base.seed});
    if (!arena) {
        return {};
    }
    shm::PurgeTable purges(*arena, 0);
    return shm::restore_purges(folder, base, purges) ? purges.export_bytes() : std::string();
}

/// Without these nothing in the folder is believed.
bool remove_vouchers(int folder) noexcept
{
    const auto remove = [folder](const char* name) { return ::unlinkat(folder, name, 0) == 0 || errno == ENOENT; };
    const bool has_no_base = remove(shm::kPurgeBaseName);
    return remove(kCleanName) && has_no_base;
}

} // namespace

std::uint64_t index_bytes(std::uint64_t disk_bytes) noexcept
{
    const std::uint64_t bytes = disk_bytes / kBytesPerObject * kIndexBytesPerObject;
    return std::clamp(bytes / 4096 * 4096 + kLeastIndexBytes, kLeastIndexBytes, kMostIndexBytes);
}

bool DiskOwner::open_folder(const Identity& identity)
{
    const auto refuse = [this](const std::string& reason) {
        os::log(os::Level::warning, "no disk tier", {{"cache.disk.path", path_}, {"reason", reason}});
        folder_.reset();
        return false;
    };
    const bool is_new = ::mkdir(path_.c_str(), 0700) == 0;
    const int made = is_new ? 0 : errno;
    struct stat status {};
    if (::stat(path_.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) {
        return refuse(strerrordesc_np(made == 0 || made == EEXIST ? ENOTDIR : made));
    }
    owner_ = status.st_uid;
    {
        const ActingAs owner(owner_);
        folder_.reset(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    }
    if (!folder_) {
        return refuse(strerrordesc_np(errno));
    }
    // Of a Ladle that was killed some threads may still be at work.
    for (auto left = kLockPatience; ::flock(folder_.get(), LOCK_EX | LOCK_NB) != 0 && left.count() > 0; left -= kLockStep) {
        std::this_thread::sleep_for(kLockStep);
    }
    if (::flock(folder_.get(), LOCK_EX | LOCK_NB) != 0) {
        return refuse("another Ladle uses it");
    }
    if (is_new && identity.uid != 0 && identity.uid != owner_) {
        if (::fchown(folder_.get(), identity.uid, identity.gid) != 0) {
            return refuse(strerrordesc_np(errno));
        }
        owner_ = identity.uid;
    }
    if (identity.uid != 0 && owner_ != identity.uid) {
        return refuse("it belongs to another user than server.user");
    }
    return true;
}

void DiskOwner::open(const config::Disk& disk, const Identity& identity)
{
    path_ = disk.path;
    size_ = disk.bytes;
    if (size_ == 0) {
        return leave_off(disk);
    }
    if (!open_folder(identity) || !open_index()) {
        folder_.reset();
        owes_distrust_ = !distrust();
    }
}

bool DiskOwner::open_index()
{
    const ActingAs owner(owner_);
    const std::string clean = shm::read_file(folder_.get(), kCleanName, 4096);
    if (!clean.empty() && ::unlinkat(folder_.get(), kCleanName, 0) != 0) {
        os::log(os::Level::warning, "no disk tier", {{"cache.disk.path", path_}, {"reason", strerrordesc_np(errno)}});
        return false;
    }
    const auto base = shm::read_purge_base(folder_.get());
    purges_ = base ? restore_purges(folder_.get(), *base) : std::string();
    const bool has_base = base && !purges_.empty();
    base_seed_ = has_base ? base->seed : 0;
    // Numbers go on; without a base they begin above all that a life before can have given.
    first_number_ = has_base ? base->first_number + kNumbersPerLife : static_cast<std::uint64_t>(std::time(nullptr)) << 20;
    return (has_base && load_index(clean)) || begin_index(has_base);
}

void DiskOwner::leave_off(const config::Disk& disk)
{
    path_ = disk.path;
    std::ignore = distrust(); // where another Ladle uses it, it is no concern of ours
}

/// Takes away what vouches for the objects in the folder. True: nothing there is believed any more; false: it could not be done
/// now.
bool DiskOwner::distrust() const
{
    struct stat status {};
    if (::stat(path_.c_str(), &status) != 0) {
        return errno == ENOENT || errno == ENOTDIR;
    }
    const ActingAs owner(status.st_uid);
    const os::Fd folder(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder || ::flock(folder.get(), LOCK_EX | LOCK_NB) != 0) {
        return false;
    }
    return remove_vouchers(folder.get());
}

bool DiskOwner::load_index(const std::string& clean)
{
    const std::uint64_t generation = parse_clean(clean);
    if (generation == 0) {
        return false;
    }
    const os::Fd file(::openat(folder_.get(), index_name(generation), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    IndexMark mark{};
    std::string reason = "it is not the one that was written last";
    const bool has_mark = file && ::read(file.get(), &mark, sizeof mark) == sizeof mark;
    if (has_mark && mark.magic == kIndexMagic && mark.generation == generation) {
        auto arena = shm::load_cache(file.get(), disk_options(size_, base_seed_));
        if (arena && arena->seed() == base_seed_) {
            arena_ = std::make_unique<shm::CacheArena>(std::move(*arena));
            saved_ = generation;
            return true;
        }
        reason = arena ? "it has another seed" : arena.error().detail;
    }
    os::log(os::Level::warning, "the index of the disk tier is not to be used: the files are read instead",
            {{"cache.disk.path", path_}, {"reason", reason}});
    return false;
}

bool DiskOwner::begin_index(bool has_base)
{
    auto arena = shm::CacheArena::make(disk_options(size_, base_seed_));
    if (!arena) {
        os::log(os::Level::warning, "no disk tier", {{"reason", arena.error().detail}});
        return false;
    }
    arena_ = std::make_unique<shm::CacheArena>(std::move(*arena));
    arena_->header().next_file.store(first_number_);
    arena_->header().unread_below.store(first_number_);
    if (!has_base) {
        purges_.clear(); // another seed from now on: no file of before is taken for one of ours
    }
    return true;
}

bool DiskOwner::adopt(const HandedDisk& handed, const config::Disk& disk, std::uint64_t memory_seed)
{
    folder_.reset(handed.folder);
    path_ = disk.path;
    size_ = disk.bytes;
    os::Fd fd(handed.arena);
    struct stat status {};
    if (folder_ && ::fstat(folder_.get(), &status) == 0) {
        owner_ = status.st_uid;
    }
    if (!folder_ || !fd || disk.bytes == 0 || handed.path != path_ || memory_seed == 0) {
        return false;
    }
    auto arena = shm::CacheArena::adopt(std::move(fd));
    if (!arena || !arena->is_made_with(disk_options(disk.bytes, 0)) || arena->seed() != memory_seed) {
        return false;
    }
    arena_ = std::make_unique<shm::CacheArena>(std::move(*arena));
    first_number_ = arena_->header().next_file.load();
    return true;
}

void DiskOwner::use_row(int row, shm::PurgeTable& purges)
{
    if (!arena_) {
        return;
    }
    const std::string before = std::exchange(purges_, {});
    if (!before.empty() && !purges.import_bytes(before)) {
        return give_up();
    }
    if (!before.empty() || base_seed_ == 0) { // not over an upgrade, where the base of the start goes on
        write_base(purges, first_number_);
    }
    store_ = std::make_unique<shm::CacheStore>(*arena_, static_cast<std::uint32_t>(row));
}

void DiskOwner::write_base(const shm::PurgeTable& purges, std::uint64_t first_number)
{
    const ActingAs owner(owner_);
    if (const int code = shm::write_purge_base(folder_.get(), purges, arena_->seed(), first_number); code != 0) {
        const bool is_first = std::exchange(base_retry_at_, loop::clock_now() + kBaseRetry) == 0;
        os::log(is_first ? os::Level::warning : os::Level::debug,
                "the disk tier cannot remember purges now: after a crash it would begin empty",
                {{"cache.disk.path", path_}, {"reason", strerrordesc_np(code)}});
    } else if (std::exchange(base_retry_at_, 0) != 0) {
        os::log(os::Level::info, "the disk tier remembers purges again", {{"cache.disk.path", path_}});
    }
}

bool DiskOwner::is_being_read() const
{
    return arena_ && arena_->header().unread_below.load() != 0;
}

std::uint64_t DiskOwner::used_memory_bytes() const noexcept
{
    constexpr std::uint64_t kBlockBytes = 512; // stat(2): whatever the file system's own are
    struct stat status {};
    return arena_ && ::fstat(arena_->fd(), &status) == 0 ? static_cast<std::uint64_t>(status.st_blocks) * kBlockBytes : 0;
}

void DiskOwner::lend(ipc::Inheritance& inheritance) const
{
    if (arena_) {
        inheritance.disk_index = arena_.get();
        inheritance.disk_files = os::Fd(folder_.get());
    }
}

HandedDisk DiskOwner::hand_over() const
{
    return arena_ ? HandedDisk{arena_->fd(), folder_.get(), path_} : HandedDisk{};
}

void DiskOwner::repair(int row)
{
    if (store_) {
        store_->repair(static_cast<std::uint32_t>(row)); // nobody waits for anything in the index
    }
}

bool DiskOwner::log_purge(const std::string& lines) const
{
    if (!arena_) {
        return !owes_distrust_;
    }
    const ActingAs owner(owner_);
    const int code = shm::append_purge(folder_.get(), lines, true);
    const bool is_safe = code == 0 || !shm::has_purge_base(folder_.get());
    if (code != 0) {
        os::log(os::Level::warning,
                is_safe ? "a purge is not remembered on disk: after a crash the disk tier would begin empty"
                        : "a purge is not remembered on disk, where nothing can be changed: after a crash it may come back",
                {{"cache.disk.path", path_}, {"reason", strerrordesc_np(code)}});
    }
    return is_safe;
}

void DiskOwner::tend(const shm::PurgeTable& purges)
{
    owes_distrust_ = owes_distrust_ && !distrust();
    if (!store_ || loop::clock_now() < base_retry_at_) {
        return;
    }
    const bool is_due = [this] {
        const ActingAs owner(owner_);
        return !shm::has_purge_base(folder_.get()) || shm::purge_log_bytes(folder_.get()) > kMostLogBytes;
    }();
    if (is_due) {
        write_base(purges, first_number_);
    }
}

void DiskOwner::save(const shm::PurgeTable& purges)
{
    if (!store_ || is_being_read()) {
        return;
    }
    const ActingAs owner(owner_);
    const std::uint64_t next_number = arena_->header().next_file.load();
    const std::uint64_t generation = saved_ + 1;
    store_.reset();
    int code = save_index(folder_.get(), generation, *arena_);
    code = code == 0 ? shm::write_purge_base(folder_.get(), purges, arena_->seed(), next_number) : code;
    code = code == 0 ? shm::replace_file(folder_.get(), kCleanName, make_clean(generation), true) : code;
    if (code != 0) {
        os::log(os::Level::warning, "the index of the disk tier could not be written: the next start reads the files",
                {{"cache.disk.path", path_}, {"reason", strerrordesc_np(code)}});
    }
}

void DiskOwner::give_up()
{
    store_.reset();
    arena_.reset();
    if (folder_) { // whose lock other processes of ours may hold for a while
        const ActingAs owner(owner_);
        std::ignore = remove_vouchers(folder_.get());
        folder_.reset();
    }
    owes_distrust_ = !distrust() && size_ > 0;
}

} // namespace ladle::master
