// SPDX-License-Identifier: Apache-2.0
#include "worker/delivery/file_jobs.h"

#include "common/base/assert.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>

namespace ladle::worker {

namespace {

constexpr std::size_t kMaxVectors = 64;

ssize_t transfer_some(int fd, const iovec* vectors, int count, off_t at, FileJob::Operation operation) noexcept
{
    switch (operation) {
    case FileJob::Operation::write: return ::pwritev(fd, vectors, count, at);
    case FileJob::Operation::append: return ::writev(fd, vectors, count);
    default: return ::preadv(fd, vectors, count, at);
    }
}

/// Reads or writes all vectors; 0 or an errno.
int transfer(int fd, std::vector<iovec>& vectors, std::uint64_t offset, FileJob::Operation operation) noexcept
{
    std::size_t first = 0;
    while (first < vectors.size()) {
        const int count = static_cast<int>(std::min(vectors.size() - first, kMaxVectors));
        const ssize_t n = transfer_some(fd, &vectors[first], count, static_cast<off_t>(offset), operation);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? errno : EIO;
        }
        offset += static_cast<std::uint64_t>(n);
        auto left = static_cast<std::size_t>(n);
        while (left > 0) {
            iovec& front = vectors[first];
            const std::size_t part = std::min(left, front.iov_len);
            front.iov_base = static_cast<char*>(front.iov_base) + part;
            front.iov_len -= part;
            left -= part;
            first += front.iov_len == 0 ? 1u : 0u;
        }
    }
    return 0;
}

} // namespace

Result<std::unique_ptr<FileJobs>> FileJobs::make(loop::Loop& loop, shm::ProcessRow& row, unsigned threads)
{
    std::unique_ptr<FileJobs> jobs(new FileJobs(loop, row));
    jobs->event_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!jobs->event_) {
        return fail_errno("eventfd", errno);
    }
    if (auto watching = jobs->watch_.start(loop, jobs->event_.get(), loop::WatchMode::level_read, &FileJobs::on_event, jobs.get());
        !watching) {
        return std::unexpected(watching.error());
    }
    // Signals are the loop's business: the threads block them all.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (unsigned i = 0; i < threads; ++i) {
        jobs->threads_.emplace_back(&FileJobs::run_thread, jobs.get());
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return jobs;
}

FileJobs::~FileJobs()
{
    stop();
}

void FileJobs::stop()
{
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wanted_.notify_all();
    for (std::thread& thread : threads_) {
        thread.join();
    }
    threads_.clear();
}

FileJob* FileJobs::submit(std::unique_ptr<FileJob>& job)
{
    if (under_way_ >= kMaxQueued) {
        return nullptr;
    }
    if (job->operation == FileJob::Operation::read) {
        // The blocks to read into, in order; the bytes count as there, which they are when on_done runs without a code.
        for (std::size_t left = job->bytes; left > 0;) {
            BlockRef block = BlockRef::make();
            const auto n = static_cast<std::uint32_t>(std::min<std::size_t>(left, block->capacity));
            block->used = n;
            job->data.append(Slice{std::move(block), 0, n});
            left -= n;
        }
    }
    iovec vector{};
    Chain rest;
    job->data.share_to(rest, 0, job->bytes);
    while (rest.vectors(&vector, 1) == 1) {
        job->vectors.push_back(vector);
        rest.consume(vector.iov_len);
    }
    FileJob* submitted = job.get();
    ++under_way_;
    row_.add(shm::Metric::file_jobs);
    {
        const std::lock_guard lock(mutex_);
        queue_.push_back(std::move(job));
    }
    wanted_.notify_one();
    return submitted;
}

void FileJobs::perform(FileJob& job)
{
    const int fd = job.file ? job.file->get() : -1;
    switch (job.operation) {
    case FileJob::Operation::write:
    case FileJob::Operation::append:
    case FileJob::Operation::read:
        job.code = transfer(fd, job.vectors, job.offset, job.operation);
        break;
    case FileJob::Operation::truncate:
        job.code = ::ftruncate(fd, static_cast<off_t>(job.offset)) != 0 ? errno : 0;
        break;
    case FileJob::Operation::release:
        job.code = ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(job.offset),
                               static_cast<off_t>(job.bytes)) != 0
                       ? errno
                       : 0;
        break;
    case FileJob::Operation::call:
        job.code = job.work();
        break;
    }
}

void FileJobs::run_thread()
{
    std::unique_lock lock(mutex_);
    for (;;) {
        wanted_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
        if (queue_.empty()) {
            return;
        }
        std::unique_ptr<FileJob> job = std::move(queue_.front());
        queue_.pop_front();
        lock.unlock();
        perform(*job);
        lock.lock();
        done_.push_back(std::move(job));
        const std::uint64_t one = 1;
        const ssize_t told = ::write(event_.get(), &one, sizeof one);
        LADLE_ASSERT(told == sizeof one || errno == EAGAIN);
    }
}

void FileJobs::on_event(void* self, loop::Ready)
{
    auto& jobs = *static_cast<FileJobs*>(self);
    std::uint64_t count = 0;
    const ssize_t n = ::read(jobs.event_.get(), &count, sizeof count);
    if (n < 0) {
        return;
    }
    std::vector<std::unique_ptr<FileJob>> done;
    {
        const std::lock_guard lock(jobs.mutex_);
        done.swap(jobs.done_);
    }
    jobs.under_way_ -= done.size();
    jobs.row_.subtract(shm::Metric::file_jobs, done.size());
    for (const auto& job : done) {
        if (job->owner != nullptr) {
            job->on_done(job->owner, *job);
        }
    }
}

} // namespace ladle::worker
