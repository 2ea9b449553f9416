// SPDX-License-Identifier: Apache-2.0
#include "worker/cache/disk_source.h"

#include "worker/cache/cache.h"
#include "worker/cache/disk_load.h"

#include <algorithm>
#include <utility>

namespace ladle::worker {

namespace {

constexpr std::size_t kFirstStep = shm::kDiskBlockBytes;
constexpr std::size_t kMostStep = 8 * shm::kDiskBlockBytes;
constexpr loop::Nanos kSlow = 250'000'000; ///< a step that its client took so long to take was too large
constexpr loop::Nanos kQuick = 100'000'000;
constexpr std::chrono::milliseconds kBusyRetryAfter{20};
constexpr std::chrono::milliseconds kSourcePatience{3'000}; ///< for a file's header and first blocks: a disk that is slower is no cache

/// Opens the file, or takes the one that is open; null: not to be had.
loop::Task<std::shared_ptr<const shm::DiskFile>> open_file(Request& request, const shm::CacheView& entry)
{
    CacheVisit& visit = *request.cache;
    DiskTier& disk = *visit.cache.disk();
    std::shared_ptr<const shm::DiskFile> open = disk.open_files().find(entry.file());
    if (open) {
        co_return open;
    }
    auto file = std::make_shared<shm::DiskFile>();
    DiskCall call(disk.jobs(), request.client.wake);
    const bool is_begun = call.start(
        [file, folder = disk.folder(), number = entry.file()] { return shm::open_disk_file(folder->get(), number, false, *file); });
    while (is_begun && !call.is_done() && !request.client.alarm.rang()) {
        co_await request.client.wake.wait();
    }
    const shm::DiskObject& object = file->header.object();
    const bool is_read = is_begun && call.is_done();
    const bool is_good = is_read && call.code() == 0 && is_asked_for(visit, object) && object.body_bytes == visit.view.body_bytes();
    if (!is_good) {
        if (is_read && !is_for_want(call.code())) {
            disk.forget_bad(entry.ref());
        }
        co_return nullptr;
    }
    open = disk.open_files().find(entry.file()); // others have opened it too: one header is enough
    if (!open) {
        open = file;
        disk.open_files().add(entry.file(), open);
    }
    co_return open;
}

} // namespace

DiskSource::DiskSource(DiskTier& disk, Request& request, shm::CacheView entry, std::shared_ptr<const shm::DiskFile> file)
    : disk_(disk), wake_(request.client.wake), account_(request.parts.budget, request.client_bucket), entry_(std::move(entry)),
      step_(std::make_shared<Step>()), retry_(wake_), most_(kFirstStep)
{
    step_->file = std::move(file);
}

std::string_view DiskSource::at(std::uint64_t begin, std::uint64_t end)
{
    if (call_ && call_->is_done()) {
        code_ = call_->code();
        call_.reset();
        read_at_ = disk_.loop().now();
    }
    if (call_ || code_ != 0 || (is_refused_ && !retry_.rang())) {
        return {};
    }
    if (is_refused_) {
        read(begin, end);
        return {};
    }
    if (begin >= begin_ && begin - begin_ < step_->bytes.size()) {
        return std::string_view(step_->bytes).substr(begin - begin_, end - begin);
    }
    if (const loop::Nanos took = disk_.loop().now() - read_at_; read_at_ != 0 && took > kSlow) {
        most_ = std::max(most_ / 2, shm::kDiskBlockBytes);
    } else if (read_at_ != 0 && took < kQuick) {
        most_ = std::min(most_ * 2, kMostStep);
    }
    read(begin, end);
    return {};
}

void DiskSource::let_go(std::uint64_t position)
{
    const std::uint64_t end = begin_ + step_->bytes.size();
    const std::uint64_t block_end = (position / shm::kDiskBlockBytes + 1) * shm::kDiskBlockBytes;
    if (call_ || position < begin_) {
        return;
    }
    if (!account_.has_room(Storage::memory, 0)) {
        step_->bytes = {};
        account_.set(Storage::memory, 0);
        return;
    }
    if (block_end >= end) {
        return;
    }
    step_->bytes = step_->bytes.substr(position - begin_, block_end - position);
    begin_ = position;
    most_ = std::max(most_ / 2, shm::kDiskBlockBytes);
    account_.set(Storage::memory, step_->bytes.size());
}

void DiskSource::read(std::uint64_t begin, std::uint64_t end)
{
    begin_ = begin / shm::kDiskBlockBytes * shm::kDiskBlockBytes;
    std::uint64_t most = std::min<std::uint64_t>(shm::disk_blocks_of(end - begin_) * shm::kDiskBlockBytes, most_);
    if (!account_.has_room(Storage::memory, account_.growth_to(Storage::memory, most))) {
        most = shm::kDiskBlockBytes;
    }
    account_.set(Storage::memory, most);
    step_->bytes.clear();
    if (step_->bytes.capacity() > 2 * most_) {
        step_->bytes.shrink_to_fit(); // it has become slower
    }
    call_.emplace(disk_.jobs(), wake_);
    const bool is_begun = call_->start([step = step_, at = begin_, most] {
        return shm::read_disk_blocks(*step->file, at, most, step->bytes);
    });
    is_refused_ = !is_begun;
    if (is_refused_) {
        call_.reset();
        retry_.set(kBusyRetryAfter);
    }
}

void DiskSource::forget_if_damaged() noexcept
{
    if (code_ != 0 && !is_for_want(code_)) {
        disk_.forget_bad(entry_.ref());
    }
}

loop::Task<std::unique_ptr<DiskSource>> open_disk_source(Request& request, std::uint64_t begin, std::uint64_t end)
{
    CacheVisit& visit = *request.cache;
    DiskTier* const disk = visit.cache.disk();
    shm::CacheView entry = disk != nullptr ? disk->find(visit.name.hash) : shm::CacheView();
    std::unique_ptr<DiskSource> source;
    if (entry && entry.file() == visit.view.file()) {
        request.client.alarm.set(kSourcePatience);
        std::shared_ptr<const shm::DiskFile> file = co_await open_file(request, entry);
        if (file) {
            source = std::make_unique<DiskSource>(*disk, request, std::move(entry), std::move(file));
        }
        while (source && source->at(begin, end).empty()) {
            if (source->is_bad() || request.client.alarm.rang()) {
                source->forget_if_damaged();
                source.reset();
                break;
            }
            co_await request.client.wake.wait();
        }
        request.client.alarm.clear();
        if (!source) {
            avoid_disk(visit); // if its file is good the next request makes the stub again
        }
    }
    if (!source && !visit.cache.store().remove(visit.view.ref())) {
        avoid_disk(visit); // it would be found again
    }
    co_return source;
}

} // namespace ladle::worker
