// SPDX-License-Identifier: Apache-2.0
#include "common/os/log.h"
#include "common/os/log_buffer.h"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

using namespace ladle;
using namespace std::chrono_literals;

namespace {

struct Pipe {
    os::Fd reading;
    os::Fd writing;

    Pipe()
    {
        int ends[2];
        REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
        reading.reset(ends[0]);
        writing.reset(ends[1]);
    }
    std::string read_some() const
    {
        std::string text(256 << 10, '\0');
        const ssize_t n = ::read(reading.get(), text.data(), text.size());
        text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
        return text;
    }
};

const std::string kLine = std::string(999, 'x') + '\n';

constexpr unsigned kLogged = 190;

/// Logs kLogged lines to a file that nobody reads, then one to the next file.
[[noreturn]] void log_into(int unread, int next)
{
    os::set_log_descriptor(unread);
    os::start_log_buffer();
    const std::string filler(3000, 'x');
    static const char* const kEvents[] = {"ev 0", "ev 1", "ev 2", "ev 3", "ev 4", "ev 5", "ev 6", "ev 7", "ev 8", "ev 9"};
    for (unsigned i = 0; i < kLogged; ++i) {
        os::log(os::Level::info, kEvents[i % 10], {{"x", filler}});
    }
    os::set_log_descriptor(next);
    os::finish_log(2000ms);
    os::log(os::Level::info, "again");
    os::finish_log(2000ms);
    ::_exit(0);
}

std::uint64_t lines_in(std::string_view text)
{
    return static_cast<std::uint64_t>(std::count(text.begin(), text.end(), '\n'));
}

/// All numbers that stand behind `key`, together.
std::uint64_t sum_of(const std::string& text, std::string_view key)
{
    std::uint64_t sum = 0;
    for (std::size_t at = 0; (at = text.find(key, at)) != std::string::npos;) {
        at += key.size();
        sum += std::stoull(text.substr(at));
    }
    return sum;
}

} // namespace

TEST_CASE("the log buffer writes lines whole and in order")
{
    const Pipe pipe;
    os::LogBuffer buffer(pipe.writing.get());
    std::string expected;
    for (int i = 0; i < 50; ++i) {
        const std::string line = std::to_string(i) + kLine;
        CHECK(buffer.add(line));
        expected += line;
    }
    buffer.finish(2000ms);
    CHECK(pipe.read_some() == expected);
    CHECK(buffer.lost() == 0);
}

TEST_CASE("a log file that takes nothing holds nobody up, and waiting lines have a bound")
{
    const Pipe pipe; // nobody reads: 64 KiB, then it blocks
    const auto begun = std::chrono::steady_clock::now();
    unsigned taken = 0;
    {
        os::LogBuffer buffer(pipe.writing.get());
        for (int i = 0; i < 1000; ++i) {
            taken += buffer.add(kLine) ? 1 : 0;
        }
        buffer.finish(10ms);
    }
    CHECK(std::chrono::steady_clock::now() - begun < 2000ms);
    CHECK(taken < 1000);
    CHECK(taken >= os::LogBuffer::kMostWaiting / kLine.size());
}

TEST_CASE("lines that wait for a dead log go to the next one, others are counted as lost")
{
    const Pipe full;
    const Pipe next;
    os::LogBuffer buffer(full.writing.get());
    for (int i = 0; i < 80; ++i) { // more than the pipe holds: the thread is stuck in the middle of these
        CHECK(buffer.add(kLine));
    }
    buffer.finish(500ms);
    CHECK(buffer.add("later\n"));
    buffer.set_file(next.writing.get());
    buffer.finish(2000ms);
    CHECK(next.read_some().ends_with("later\n"));
    CHECK(buffer.lost() > 0);
}

TEST_CASE("with a buffer the log tells as before how many lines were lost")
{
    const Pipe closed;
    const os::Fd next(::memfd_create("log", MFD_CLOEXEC));
    const pid_t child = ::fork(); // a buffer is for the rest of a process's life
    if (child == 0) {
        log_into(closed.writing.get(), next.get());
    }
    int status = -1;
    ::waitpid(child, &status, 0);
    CHECK(status == 0);
    std::string text(1 << 20, '\0');
    text.resize(static_cast<std::size_t>(::pread(next.get(), text.data(), text.size(), 0)));
    const std::uint64_t told = sum_of(text, "lines_lost_before=");
    ::fcntl(closed.reading.get(), F_SETFL, O_NONBLOCK); // it may be that no line got there in time
    CHECK(told > 0);                                    // 570 KB into 64 KiB of pipe and 256 KiB of buffer
    CHECK(lines_in(closed.read_some()) + lines_in(text) + told == kLogged + 1);
}
