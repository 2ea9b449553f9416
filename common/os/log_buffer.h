// SPDX-License-Identifier: Apache-2.0
//
// LogBuffer: log lines on their way to a file, off the loop. add() puts a line into memory; a thread of this object's own writes,
// so a pipe that nobody reads, a full disk or a dead NFS server never holds up the caller. At most kMostWaiting bytes wait; lines
// beyond that are refused, lines that the file does not take are lost and counted. One in each worker and in the caretaker, made
// after the fork (a thread does not survive one); the log (log.h) is its only user. (Several processes may write to one pipe, so a
// write that poll() promised to be short may still wait for its reader: then this process's lines wait and get lost, and nothing
// else.)
#pragma once

#include "common/os/fd.h"

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

namespace ladle::os {

/// Most bytes of one write(), and of one line: PIPE_BUF, so that a writable pipe takes it in one piece.
inline constexpr std::size_t kMaxLogWrite = 4096;

class LogBuffer {
public:
    static constexpr std::size_t kMostWaiting = 256 << 10;

    /// Throws std::system_error when there is no thread to be had.
    explicit LogBuffer(int fd);
    /// Lines that the file does not take at once are lost (see finish()).
    ~LogBuffer();
    LogBuffer(const LogBuffer&) = delete;
    LogBuffer& operator=(const LogBuffer&) = delete;

    /// Adds a line (with its newline, at most kMaxLogWrite bytes); false = there is no room.
    bool add(std::string_view line) noexcept;
    /// Where lines go from now on, also those that wait (not those being written); the descriptor is duplicated. -1 = nowhere.
    void set_file(int fd) noexcept;
    /// Waits until all lines are written, or for that time.
    void finish(std::chrono::milliseconds most) noexcept;
    /// Lines that the file did not take so far.
    std::uint64_t lost() noexcept;

private:
    void run();
    /// Writes whole lines; the number of those that the file did not take.
    std::uint64_t write(const Fd& file, std::string_view lines);
    /// Waits until the file takes something; false = it never will, or is not wanted any more.
    bool wait_for_room(const Fd& file);

    std::mutex mutex_; ///< guards what follows; never held while writing
    std::condition_variable wanted_;
    std::condition_variable written_;
    std::string waiting_;
    std::shared_ptr<Fd> file_;
    std::uint64_t lost_ = 0;
    bool is_writing_ = false;
    bool stopping_ = false;

    std::thread thread_;
};

} // namespace ladle::os
