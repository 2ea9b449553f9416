// SPDX-License-Identifier: Apache-2.0
#include "common/os/log.h"
#include "common/os/log_buffer.h"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <string>

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
    buffer.finish(50ms);
    CHECK(buffer.add("later\n"));
    buffer.set_file(next.writing.get());
    buffer.finish(2000ms);
    CHECK(next.read_some().ends_with("later\n"));
    CHECK(buffer.lost() > 0);
}

TEST_CASE("with a buffer the log tells as before how many lines were lost")
{
    const int before = os::log_descriptor();
    const Pipe closed;
    const os::Fd next(::memfd_create("log", MFD_CLOEXEC));
    os::set_log_descriptor(closed.writing.get());
    os::start_log_buffer();
    const std::string filler(3000, 'x');
    const std::uint64_t dropped = os::dropped_log_lines();
    static const char* const kEvents[] = {"one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"};
    for (int i = 0; i < 190; ++i) {
        os::log(os::Level::info, kEvents[i % 10], {{"x", filler}});
    }
    CHECK(os::dropped_log_lines() > dropped); // 570 KB into 64 KiB of pipe and 256 KiB of buffer
    os::set_log_descriptor(next.get());
    os::finish_log(2000ms);
    const std::uint64_t lost = os::dropped_log_lines() - dropped;
    os::log(os::Level::info, "again");
    os::finish_log(2000ms);
    std::string text(1 << 20, '\0');
    text.resize(static_cast<std::size_t>(::pread(next.get(), text.data(), text.size(), 0)));
    CHECK(text.find("lines_lost_before=" + std::to_string(lost)) != std::string::npos);
    os::stop_log_buffer();
    os::set_log_descriptor(before);
}
