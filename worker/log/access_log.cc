// SPDX-License-Identifier: Apache-2.0
#include "worker/log/access_log.h"

#include "common/os/log.h"

#include <sys/uio.h>

#include <utility>

namespace ladle::worker {

AccessLog::~AccessLog()
{
    if (under_way_ != nullptr) {
        under_way_->owner = nullptr;
    }
    while (file_ && !waiting_.empty()) { // the worker is leaving: nothing waits for the loop any more
        iovec vectors[64];
        const int count = waiting_.vectors(vectors, 64);
        const ssize_t n = ::writev(file_->get(), vectors, count);
        if (n <= 0) {
            break;
        }
        waiting_.consume(static_cast<std::size_t>(n));
    }
}

void AccessLog::set_file(os::Fd file)
{
    if (!file) {
        write(); // what has gathered still belongs to the old file
    }
    file_ = file ? std::make_shared<os::Fd>(std::move(file)) : nullptr;
    if (!file_) {
        waiting_.clear();
        row_.add(shm::Metric::log_lines_dropped, std::exchange(lines_waiting_, 0));
    }
}

void AccessLog::add(std::string_view line)
{
    if (waiting_.bytes() + line.size() > kMostWaiting) {
        row_.add(shm::Metric::log_lines_dropped);
        return;
    }
    waiting_.append_copy(line);
    ++lines_waiting_;
    if (waiting_.bytes() >= kWriteAt) {
        write();
    }
}

void AccessLog::on_tick()
{
    if (++ticks_ % 10 == 0) {
        write();
    }
}

void AccessLog::write()
{
    if (under_way_ != nullptr || waiting_.empty() || !file_) {
        return;
    }
    auto job = std::make_unique<FileJob>();
    job->operation = FileJob::Operation::append;
    job->file = file_;
    job->bytes = waiting_.bytes();
    job->data.append(std::move(waiting_));
    job->on_done = &AccessLog::on_written;
    job->owner = this;
    under_way_ = jobs_->submit(job);
    if (under_way_ == nullptr) { // the queue is full: later
        waiting_ = std::move(job->data);
        return;
    }
    lines_under_way_ = std::exchange(lines_waiting_, 0);
}

void AccessLog::on_written(void* self, FileJob& job)
{
    auto& log = *static_cast<AccessLog*>(self);
    log.under_way_ = nullptr;
    log.row_.add(job.code == 0 ? shm::Metric::log_lines : shm::Metric::log_lines_dropped, log.lines_under_way_);
    if (job.code != 0) {
        os::log(os::Level::warning, "cannot write the access log", {{"reason", strerrordesc_np(job.code)}});
    }
    if (log.waiting_.bytes() >= kWriteAt) {
        log.write();
    }
}

} // namespace ladle::worker
