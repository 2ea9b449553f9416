// SPDX-License-Identifier: Apache-2.0
#include "common/os/log_buffer.h"

#include "common/base/assert.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace ladle::os {

namespace {

/// Holds back all signals of this thread, and of threads begun meanwhile for ever.
class NoSignals {
public:
    NoSignals() noexcept
    {
        sigset_t all;
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~NoSignals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    NoSignals(const NoSignals&) = delete;
    NoSignals& operator=(const NoSignals&) = delete;

private:
    sigset_t before_;
};

constexpr int kPatienceMs = 200; // between two looks whether the file is still the one that is wanted

std::shared_ptr<Fd> duplicate(int fd)
{
    return std::make_shared<Fd>(fd < 0 ? -1 : ::fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

/// As many whole lines as one write() may hold.
std::string_view first_piece(std::string_view lines) noexcept
{
    if (lines.size() <= kMaxLogWrite) {
        return lines;
    }
    return lines.substr(0, lines.rfind('\n', kMaxLogWrite - 1) + 1);
}

std::uint64_t count_lines(std::string_view lines) noexcept
{
    return static_cast<std::uint64_t>(std::count(lines.begin(), lines.end(), '\n'));
}

} // namespace

LogBuffer::LogBuffer(int fd) : file_(duplicate(fd))
{
    const NoSignals guard; // they are the main thread's
    thread_ = std::thread(&LogBuffer::run, this);
}

LogBuffer::~LogBuffer()
{
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wanted_.notify_one();
    thread_.join();
}

bool LogBuffer::add(std::string_view line) noexcept
{
    LADLE_ASSERT(line.size() <= kMaxLogWrite && line.ends_with('\n'));
    {
        const std::lock_guard lock(mutex_);
        if (waiting_.size() + line.size() > kMostWaiting) {
            return false;
        }
        waiting_ += line;
    }
    wanted_.notify_one();
    return true;
}

void LogBuffer::set_file(int fd) noexcept
{
    std::shared_ptr<Fd> next = duplicate(fd);
    const std::lock_guard lock(mutex_);
    file_.swap(next);
}

void LogBuffer::finish(std::chrono::milliseconds most) noexcept
{
    std::unique_lock lock(mutex_);
    written_.wait_for(lock, most, [this] { return waiting_.empty() && !is_writing_; });
}

std::uint64_t LogBuffer::lost() noexcept
{
    const std::lock_guard lock(mutex_);
    return lost_;
}

void LogBuffer::run()
{
    std::unique_lock lock(mutex_);
    for (;;) {
        wanted_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
        if (waiting_.empty()) {
            return;
        }
        const std::string lines = std::exchange(waiting_, {});
        const std::shared_ptr<Fd> file = file_;
        is_writing_ = true;
        lock.unlock();
        const std::uint64_t lost = write(*file, lines);
        lock.lock();
        is_writing_ = false;
        lost_ += lost;
        written_.notify_all();
    }
}

std::uint64_t LogBuffer::write(const Fd& file, std::string_view lines)
{
    while (!lines.empty()) {
        const std::string_view piece = first_piece(lines);
        if (!file || !wait_for_room(file)) {
            return count_lines(lines);
        }
        const ssize_t n = ::write(file.get(), piece.data(), piece.size());
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            return count_lines(lines);
        }
        lines.remove_prefix(n > 0 ? static_cast<std::size_t>(n) : 0);
    }
    return 0;
}

bool LogBuffer::wait_for_room(const Fd& file)
{
    for (;;) {
        pollfd p{file.get(), POLLOUT, 0};
        if (::poll(&p, 1, kPatienceMs) == 1) {
            return (p.revents & POLLOUT) != 0;
        }
        const std::lock_guard lock(mutex_);
        if (stopping_ || file_.get() == nullptr || file_->get() != file.get()) {
            return false;
        }
    }
}

} // namespace ladle::os
