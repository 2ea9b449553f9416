// SPDX-License-Identifier: Apache-2.0
//
// The access log of one worker: lines gather in memory and go to the file (opened by the master) in large appends off the loop, at
// least once a second. It never blocks: when the file cannot keep up, lines beyond 1 MiB are dropped and counted, as are lines that
// it refuses. One append is under way at a time, so lines keep their order.
#pragma once

#include "common/loop/loop.h"
#include "common/os/fd.h"
#include "common/shm/rows.h"
#include "worker/delivery/file_jobs.h"
#include "worker/net/blocks.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace ladle::worker {

class AccessLog {
public:
    AccessLog(FileJobs* jobs, shm::ProcessRow& row) noexcept : jobs_(jobs), row_(row) {}
    ~AccessLog();
    AccessLog(const AccessLog&) = delete;
    AccessLog& operator=(const AccessLog&) = delete;

    /// Where lines go from now on, also those already gathered; -1 = off.
    void set_file(os::Fd file);
    bool is_on() const noexcept { return file_ != nullptr; }
    /// Adds one line (with its newline).
    void add(std::string_view line);
    /// Each 100 ms: writes what has gathered for a second.
    void on_tick();

    static constexpr std::size_t kWriteAt = 64 << 10;
    static constexpr std::size_t kMostWaiting = 1 << 20;

private:
    void write();
    static void on_written(void* self, FileJob& job);

    FileJobs* jobs_;
    shm::ProcessRow& row_;
    std::shared_ptr<os::Fd> file_;
    Chain waiting_;
    FileJob* under_way_ = nullptr;
    std::uint64_t lines_waiting_ = 0;
    std::uint64_t lines_under_way_ = 0;
    unsigned ticks_ = 0;
};

} // namespace ladle::worker
