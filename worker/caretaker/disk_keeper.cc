// SPDX-License-Identifier: Apache-2.0
#include "worker/caretaker/disk_keeper.h"

#include "common/http/stored_meta.h"
#include "common/os/log.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <span>
#include <tuple>
#include <utility>

namespace ladle::worker {

namespace {

constexpr unsigned kSubfolders = 256;
constexpr std::size_t kBatch = 512; ///< files in each 100 ms
constexpr loop::Nanos kFailureRetryAfter = 30'000'000'000;

struct CloseFolder {
    void operator()(DIR* folder) const noexcept { ::closedir(folder); }
};

} // namespace

DiskKeeper::DiskKeeper(loop::Loop& loop, shm::CacheArena& memory, std::uint32_t row, std::unique_ptr<DiskTier> tier)
    : loop_(loop), memory_(memory, row), tier_(std::move(tier)), wake_(loop)
{
}

DiskKeeper::~DiskKeeper()
{
    tier_->stop();
}

Result<std::unique_ptr<DiskKeeper>> DiskKeeper::make(loop::Loop& loop, shm::CacheArena& memory, shm::CacheArena& index,
                                                     std::uint32_t row, shm::ProcessRow& metrics, os::Fd folder)
{
    auto tier = DiskTier::make(loop, index, row, metrics, std::move(folder));
    if (!tier) {
        return std::unexpected(tier.error());
    }
    std::unique_ptr<DiskKeeper> keeper(new DiskKeeper(loop, memory, row, std::move(*tier)));
    keeper->main_ = keeper->run();
    keeper->main_.start();
    return keeper;
}

void DiskKeeper::on_tick()
{
    tier_->index().sweep();
    tier_->tidy();
    has_ticked_ = true;
    wake_.kick_later();
}

int DiskKeeper::list_subfolder(int folder, unsigned subfolder, std::uint64_t below, Names& out)
{
    const std::string name = fmt::format("{:02x}", subfolder);
    const int fd = ::openat(folder, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? 0 : errno;
    }
    const std::unique_ptr<DIR, CloseFolder> entries(::fdopendir(fd));
    if (!entries) {
        os::Fd(fd).reset();
        return ENOMEM;
    }
    std::vector<std::pair<std::uint64_t, std::string>> heads;
    while (const dirent* entry = ::readdir(entries.get())) {
        const std::string_view file = entry->d_name;
        const auto [kind, number] = shm::disk_owner_of(subfolder, file);
        if (file == "." || file == ".." || number >= below) {
            continue; // larger ones are this life's own
        }
        if (kind == shm::DiskFileKind::object) {
            out.numbers.push_back(number);
        } else if (kind == shm::DiskFileKind::head) {
            heads.emplace_back(number, name + "/" + std::string(file));
        } else {
            out.strangers.push_back(name + "/" + std::string(file));
        }
    }
    // The newest first: of two of one name it is the one that counts.
    std::sort(out.numbers.begin(), out.numbers.end(), std::greater<>());
    for (auto& [number, head] : heads) {
        if (!std::binary_search(out.numbers.begin(), out.numbers.end(), number, std::greater<>())) {
            out.strangers.push_back(std::move(head));
        }
    }
    return 0;
}

/// False: it is to be removed.
bool DiskKeeper::take_up(const shm::DiskFile& file)
{
    const shm::DiskObject& found = file.header.object();
    const std::string_view url = found.url.substr(0, found.url.find('\n'));
    const bool is_ours = found.seed == tier_->index().arena().seed() &&
                         found.hash == tier_->index().name(found.url, found.variant).hash &&
                         (found.is_vary_record || http::StoredMeta::is_whole(std::as_bytes(std::span(found.meta))));
    if (!is_ours || memory_.purges().state(url, found.tags, found.epoch) == shm::PurgeState::hard) {
        return false;
    }
    char bytes[16];
    shm::CacheObject entry;
    entry.name = shm::CacheStore::name_by_hash(found.hash, bytes);
    const http::StoredMeta stored = http::StoredMeta::read(std::as_bytes(std::span(found.meta)));
    const http::IndexedMeta meta{stored.freshness, memory_.name(found.url).hash.low};
    if (!found.is_vary_record) {
        entry.meta = meta.bytes();
        entry.head = http::IndexedMeta::shortened(found.variant);
    }
    entry.tags = found.tags;
    entry.epoch = found.epoch;
    entry.body_bytes = file.header.file_bytes();
    entry.in_file = true;
    if (const shm::CacheView other = tier_->index().peek(entry.name); other && other.file() >= found.number) {
        return other.file() == found.number; // a caretaker before has been here
    }
    if (memory_.peek(memory_.name(found.url, found.variant))) {
        return false; // fetched anew since
    }
    return tier_->index().adopt_file(entry, found.number).has_value();
}

loop::Task<bool> DiskKeeper::read_subfolder(unsigned subfolder, std::uint64_t below)
{
    auto names = std::make_shared<Names>();
    DiskCall listing(tier_->jobs(), wake_);
    const bool is_listing = listing.start([names, folder = tier_->folder(), subfolder, below] {
        const int code = list_subfolder(folder->get(), subfolder, below, *names);
        for (const std::string& stranger : names->strangers) {
            ::unlinkat(folder->get(), stranger.c_str(), 0);
        }
        return code;
    });
    while (!listing.is_done()) {
        co_await wake_.wait();
    }
    if (!is_listing || listing.code() != 0) {
        co_return false;
    }
    bool is_whole = true;
    for (std::size_t at = 0; at < names->numbers.size(); at += kBatch) {
        has_ticked_ = false;
        auto batch = std::make_shared<Batch>();
        DiskCall reading(tier_->jobs(), wake_);
        const bool is_reading = reading.start([batch, names, at, folder = tier_->folder()] {
            for (std::size_t i = at; i < std::min(names->numbers.size(), at + kBatch); ++i) {
                auto file = std::make_unique<shm::DiskFile>();
                const int code = shm::open_disk_file(folder->get(), names->numbers[i], false, *file);
                if (code == 0) {
                    file->fd.reset();
                    batch->good.push_back(std::move(file));
                } else if (code == EMFILE || code == ENFILE || code == ENOMEM) {
                    batch->is_whole = false;
                } else if (code != ENOENT) {
                    batch->bad.push_back(names->numbers[i]);
                }
            }
            return 0;
        });
        while (!reading.is_done()) {
            co_await wake_.wait();
        }
        is_whole = is_whole && is_reading && batch->is_whole;
        for (const auto& file : batch->good) {
            if (take_up(*file)) {
                ++taken_;
            } else {
                batch->bad.push_back(file->header.object().number);
            }
        }
        removed_ += batch->bad.size();
        tier_->row().add(shm::Metric::cache_disk_bad_files, batch->bad.size());
        DiskCall removing(tier_->jobs(), wake_);
        std::ignore = removing.start([batch, folder = tier_->folder()] {
            for (const std::uint64_t number : batch->bad) {
                std::ignore = shm::unlink_disk_file(folder->get(), number);
            }
            return 0;
        });
        while (!removing.is_done() || !has_ticked_) {
            co_await wake_.wait();
        }
    }
    co_return is_whole;
}

loop::Task<void> DiskKeeper::wait_until(loop::Nanos time)
{
    while (loop_.now() < time) {
        co_await wake_.wait();
    }
}

loop::Task<void> DiskKeeper::run()
{
    std::atomic<std::uint64_t>& unread_below = tier_->index().arena().header().unread_below;
    const std::uint64_t below = unread_below.load();
    if (below == 0) {
        co_return;
    }
    // What a caretaker before has taken up may be gone from the index since, and its file not yet: it is not taken up again.
    auto& done = tier_->index().arena().header().read_subfolders;
    for (bool is_first = true;; is_first = false) {
        unsigned unread = 0;
        for (unsigned subfolder = 0; subfolder < kSubfolders; ++subfolder) {
            const std::uint64_t bit = std::uint64_t{1} << subfolder % 64;
            if ((done[subfolder / 64].load() & bit) != 0) {
                continue;
            }
            const bool is_read = co_await read_subfolder(subfolder, below);
            if (is_read) {
                done[subfolder / 64].fetch_or(bit);
            } else {
                ++unread;
            }
        }
        if (unread == 0) {
            break;
        }
        if (is_first) {
            os::log(os::Level::error, "some of the disk tier cannot be read: tried again every 30 s", {{"subfolders", unread}});
        }
        co_await wait_until(loop_.now() + kFailureRetryAfter);
    }
    unread_below.store(0);
    if (taken_ + removed_ > 0) {
        os::log(os::Level::info, "the disk tier was read", {{"objects", taken_}, {"removed", removed_}});
    }
}

} // namespace ladle::worker
