// SPDX-License-Identifier: Apache-2.0
#include "worker/delivery/spool.h"

#include "common/base/assert.h"
#include "common/os/log.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>

namespace ladle::worker {

namespace {

constexpr loop::Nanos kBadDiskPause = 1'000'000'000; // how long spooling to disk rests after a failure
constexpr std::size_t kLeastRead = 4 << 10;          // rather a little too much than many tiny reads
constexpr unsigned kMostReads = 3;                   // of a part that a bad disk does not give back

} // namespace

Spool::Spool(SpoolParts& parts, std::uint32_t client_bucket, loop::Wake& wake, Keep keep) noexcept
    : parts_(parts), wake_(wake), account_(parts.budget, client_bucket), keep_(keep)
{
}

Spool::Spool(SpoolParts& parts, std::optional<std::uint32_t> client_bucket, loop::Wake& wake, const Spool& source)
    : parts_(parts), wake_(wake), account_(parts.budget, client_bucket.value_or(SpoolBudget::kNoClient)), keep_(Keep::all),
      file_(source.file_), file_begin_(source.file_begin_), file_end_(source.file_end_), size_(source.size_),
      is_counted_(client_bucket.has_value())
{
    LADLE_ASSERT(source.may_be_shared());
    source.memory_.share_to(memory_, 0, source.memory_.bytes());
    source.tail_.share_to(tail_, 0, source.tail_.bytes());
    shared_ = held();
}

Spool::~Spool()
{
    for (FileJob* job : {write_, read_}) {
        if (job != nullptr) {
            job->owner = nullptr;
        }
    }
}

bool Spool::may_use_disk(std::uint64_t more) noexcept
{
    return parts_.jobs != nullptr && parts_.directory >= 0 && parts_.budget.is_disk_good(parts_.loop.now()) &&
           account_.has_room(Storage::disk, more);
}

bool Spool::fits_in_memory(std::size_t all) noexcept
{
    return account_.has_room(Storage::memory, account_.growth_to(Storage::memory, all));
}

/// What one file operation moves: less where memory is short, for that many bytes wait beside the file.
std::size_t Spool::file_chunk(std::size_t outside) noexcept
{
    return fits_in_memory(held() + outside + kFileChunk) ? kFileChunk : kShortChunk;
}

bool Spool::fits(std::size_t outside, std::size_t wanted) noexcept
{
    if (is_on_disk()) {
        return tail_.bytes() + wanted <= 2 * file_chunk(outside) && may_use_disk(tail_.bytes() + wanted);
    }
    return fits_in_memory(held() + outside + wanted) || may_use_disk(wanted);
}

std::size_t Spool::room(std::size_t outside, std::size_t wanted) noexcept
{
    const std::size_t here = held() + outside;
    const std::size_t free = buffers_are_scarce() ? kLeastRead : kFree;
    std::size_t room = here + kLeastRead <= free ? free - here : 0; // for less a block of its own would be taken
    if (here + wanted <= free + kLeastRead) { // nobody is asked for the little that everyone needs
        room = wanted;
    } else {
        for (const std::size_t step : {wanted, kReadStep, kFree}) {
            if (step <= wanted && fits(outside, step)) {
                room = std::max(room, step);
                break;
            }
        }
    }
    if (room == 0 && !waits_for_room_) {
        account_.budget().row().add(shm::Metric::spool_back_pressure);
    }
    waits_for_room_ = room == 0;
    return room;
}

void Spool::append(Chain&& bytes)
{
    size_ += bytes.bytes();
    if (size_ > kFree) {
        forget_beginning();
    }
    const std::size_t all = held() + bytes.bytes();
    const bool stays = !is_on_disk() && (all <= kFree || fits_in_memory(all) || !may_use_disk(bytes.bytes()));
    if (stays) {
        memory_.append(std::move(bytes));
        return;
    }
    if (!is_on_disk()) {
        file_begin_ = file_end_ = released_ = memory_begin_ + memory_.bytes();
    }
    tail_.append(std::move(bytes));
    spill();
}

bool Spool::open_file()
{
    if (file_) {
        return true;
    }
    const int fd = ::openat(parts_.directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) {
        os::log(os::Level::warning, "cannot open a spool file; bodies wait in memory", {{"reason", strerrordesc_np(errno)}});
        parts_.budget.mark_disk_bad(parts_.loop.now() + kBadDiskPause);
        return false;
    }
    file_ = std::make_shared<os::Fd>(fd);
    account_.budget().row().add(shm::Metric::spool_to_disk);
    return true;
}

void Spool::spill()
{
    if (write_ != nullptr || tail_.empty() || !may_use_disk(tail_.bytes()) || !open_file()) {
        return;
    }
    auto job = std::make_unique<FileJob>();
    job->operation = FileJob::Operation::write;
    job->file = file_;
    job->offset = file_end_;
    job->bytes = tail_.share_to(job->data, 0, kFileChunk);
    job->on_done = &Spool::on_written;
    job->owner = this;
    write_ = parts_.jobs->submit(job);
}

void Spool::on_written(void* self, FileJob& job)
{
    auto& spool = *static_cast<Spool*>(self);
    spool.write_ = nullptr;
    if (job.code != 0) {
        os::log(os::Level::warning, "cannot write a spool file; bodies wait in memory", {{"reason", strerrordesc_np(job.code)}});
        spool.parts_.budget.mark_disk_bad(spool.parts_.loop.now() + kBadDiskPause);
    } else {
        spool.tail_.consume(job.bytes);
        spool.file_end_ += job.bytes;
        spool.account_.set(Storage::disk, spool.file_end_ - spool.released_);
        spool.spill();
    }
    spool.wake_.kick_later();
}

void Spool::fetch()
{
    if (read_ != nullptr || parts_.jobs == nullptr) {
        return;
    }
    auto job = std::make_unique<FileJob>();
    job->operation = FileJob::Operation::read;
    job->file = file_;
    job->offset = taken_;
    job->bytes = static_cast<std::size_t>(std::min<std::uint64_t>(file_end_ - taken_, file_chunk(0)));
    job->on_done = &Spool::on_fetched;
    job->owner = this;
    read_ = parts_.jobs->submit(job);
    if (read_ == nullptr) {
        wake_.kick_later(); // the queue is full: try again
    }
}

void Spool::on_fetched(void* self, FileJob& job)
{
    auto& spool = *static_cast<Spool*>(self);
    const bool is_wanted = std::exchange(spool.read_, nullptr) != nullptr && job.offset == spool.taken_;
    if (job.code != 0) {
        os::log(os::Level::error, "cannot read a spool file back", {{"reason", strerrordesc_np(job.code)}});
        if (++spool.failed_reads_ >= kMostReads) {
            return; // the stall timeout ends it
        }
    } else {
        spool.failed_reads_ = 0;
        if (is_wanted) {
            spool.window_.append(std::move(job.data));
        }
    }
    spool.wake_.kick_later();
}

std::size_t Spool::take(Chain& out, std::size_t most)
{
    std::size_t n = 0;
    const std::uint64_t memory_end = memory_begin_ + memory_.bytes();
    if (taken_ < memory_end) {
        n = keeps_all() ? memory_.share_to(out, static_cast<std::size_t>(taken_ - memory_begin_), most)
                               : memory_.move_to(out, most);
    } else if (taken_ < file_end_) {
        if (window_.empty()) {
            fetch();
            return 0;
        }
        n = window_.move_to(out, most);
    } else if (write_ == nullptr && !tail_.empty()) {
        n = keeps_all() ? tail_.share_to(out, static_cast<std::size_t>(taken_ - file_end_), most) : tail_.move_to(out, most);
        if (keep_ == Keep::until_taken) {
            file_begin_ = file_end_ = file_end_ + n; // the file ends before what was taken past it
        }
    }
    taken_ += n;
    if (keep_ == Keep::until_taken) {
        memory_begin_ = taken_;
        if (taken_ >= file_end_ && file_ && write_ == nullptr) {
            leave_disk();
        } else {
            release_consumed();
        }
    }
    return n;
}

/// All of the file has been taken: what still waits goes on in memory, and the file's space goes back.
void Spool::leave_disk()
{
    if (!tail_.empty()) {
        memory_.append(std::move(tail_));
    }
    memory_begin_ = taken_;
    file_begin_ = file_end_ = released_ = 0;
    file_.reset();
    account_.set(Storage::disk, 0);
}

void Spool::release_consumed()
{
    if (!file_ || taken_ <= released_ + kReleaseStep || taken_ > file_end_ || parts_.jobs == nullptr) {
        return;
    }
    auto job = std::make_unique<FileJob>();
    job->operation = FileJob::Operation::release;
    job->file = file_;
    job->offset = released_;
    job->bytes = static_cast<std::size_t>(taken_ - released_) & ~std::size_t{4095};
    const std::uint64_t released = released_ + job->bytes;
    if (parts_.jobs->submit(job) != nullptr) {
        released_ = released;
        account_.set(Storage::disk, file_end_ - released_);
    }
}

void Spool::keep_no_more() noexcept
{
    LADLE_ASSERT(taken_ <= memory_begin_ + memory_.bytes());
    memory_.consume(static_cast<std::size_t>(taken_ - memory_begin_));
    memory_begin_ = taken_;
    keep_ = Keep::until_taken;
}

void Spool::forget_beginning() noexcept
{
    if (keep_ == Keep::beginning) {
        keep_no_more();
    }
}

void Spool::rewind() noexcept
{
    LADLE_ASSERT(keeps_all());
    taken_ = 0;
    window_.clear();
}

void Spool::settle(std::size_t outside) noexcept
{
    if (is_counted_) {
        account_.set(Storage::memory, held() - shared_ + outside);
    }
}

} // namespace ladle::worker
