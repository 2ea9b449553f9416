// SPDX-License-Identifier: Apache-2.0
//
// File operations off the loop: a few threads that read and write spool files, so that a slow disk never holds up a worker. The
// queue is bounded (a refused job means back-pressure for its owner); its length is the metric file_jobs. Threads touch only the
// descriptor and the memory ranges of a job; everything else (counts of blocks, owners) belongs to the loop's thread.
#pragma once

#include "common/base/error.h"
#include "common/loop/loop.h"
#include "common/os/fd.h"
#include "common/shm/rows.h"
#include "worker/net/blocks.h"

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace ladle::worker {

struct FileJob {
    enum class Operation : std::uint8_t {
        write,    ///< `bytes` from `data` to `offset`
        append,   ///< `bytes` from `data` to the file's end (log files)
        read,     ///< `bytes` from `offset` into `data`
        truncate, ///< to `offset` bytes
        release,  ///< gives `bytes` from `offset` on back to the disk
        call,     ///< runs `work`, whose result is `code`; it touches only what it owns
    };

    Operation operation = Operation::write;
    std::shared_ptr<os::Fd> file;
    Chain data;
    std::uint64_t offset = 0;
    std::size_t bytes = 0;
    std::function<int()> work; ///< of a call
    int code = 0; ///< result: 0 or an errno; a short read is EIO

    void (*on_done)(void* owner, FileJob& job) = nullptr;
    void* owner = nullptr; ///< null = nobody waits any more

    std::vector<iovec> vectors; ///< made by submit()
};

class FileJobs {
public:
    static constexpr std::size_t kMaxQueued = 1024;

    static Result<std::unique_ptr<FileJobs>> make(loop::Loop& loop, shm::ProcessRow& row, unsigned threads = 2);
    ~FileJobs();
    FileJobs(const FileJobs&) = delete;
    FileJobs& operator=(const FileJobs&) = delete;

    /// Queues a job; on_done runs later in the loop. Returns the job for the owner to disown, or null when the queue is full (the
    /// job is then still in `job`).
    FileJob* submit(std::unique_ptr<FileJob>& job);
    /// Does what is queued and ends the threads; nothing is told any more. Idempotent.
    void stop();

private:
    FileJobs(loop::Loop& loop, shm::ProcessRow& row) noexcept : loop_(loop), row_(row) {}
    void run_thread();
    static void perform(FileJob& job);
    static void on_event(void* self, loop::Ready what);

    loop::Loop& loop_;
    shm::ProcessRow& row_;
    os::Fd event_;
    loop::Watch watch_;
    std::size_t under_way_ = 0;
    std::vector<std::thread> threads_;

    std::mutex mutex_; ///< guards what follows
    std::condition_variable wanted_;
    std::deque<std::unique_ptr<FileJob>> queue_;
    std::vector<std::unique_ptr<FileJob>> done_;
    bool stopping_ = false;
};

} // namespace ladle::worker
